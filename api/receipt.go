package api

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

type receiptsInput struct {
	Conversation string        `json:"c" required:"true"`
	Seq          uint64        `json:"seq" required:"true" doc:"a message of the caller" example:"1"`
	Cursor       accounts.Name `json:"cursor"`
	Limit        uint64        `json:"limit"`
}

type receiptsOutput struct {
	Recv   []accounts.Name `json:"recv" doc:"who has received it; none in rooms that are too big for names"`
	Read   []accounts.Name `json:"read" doc:"who of them has read it"`
	RecvN  int             `json:"recv_n" doc:"how many have received it"`
	ReadN  int             `json:"read_n" doc:"how many have read it"`
	Of     int             `json:"of" doc:"how many others could have received it"`
	Cursor accounts.Name   `json:"cursor,omitempty"`
}

func receiptRows(ch *chat.Service) []*Operation {
	return []*Operation{
		read("rcpt.list", User, "Says who has received and who has read a message of the caller.",
			func(ctx context.Context, c Caller, in receiptsInput) (receiptsOutput, error) {
				r, err := ch.Receipts(ctx, c.Account, chat.Conversation(in.Conversation), in.Seq, in.Cursor, page(in.Limit))
				return receiptsOutput{
					Recv: listed(r.Recv), Read: listed(r.Read), RecvN: r.Counts.Recv, ReadN: r.Counts.Read, Of: r.Counts.Of,
					Cursor: r.Cursor,
				}, err
			}),
	}
}
