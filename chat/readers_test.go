package chat_test

import (
	"testing"

	"github.com/magpie-im/magpie/chat"
)

func TestSendersAreToldOfTheNewestMessageOfWhichSomethingIsNew(t *testing.T) {
	alice := []uint64{1, 4, 9} // what the first of them has sent
	last := func(seq uint64) (last uint64, err error) {
		for _, sent := range alice {
			if sent <= seq {
				last = sent
			}
		}
		return last, nil
	}
	tests := map[string]struct {
		others []chat.Reader
		want   uint64
	}{
		"nobody has moved":             {[]chat.Reader{{Recv: 9, Read: 9, ToldRecv: 9, ToldRead: 9}}, 0},
		"one has read the last":        {[]chat.Reader{{Recv: 9, Read: 9, ToldRecv: 9, ToldRead: 3}}, 9},
		"one has received some":        {[]chat.Reader{{Recv: 8, Read: 3, ToldRecv: 3, ToldRead: 3}}, 4},
		"all between are another's":    {[]chat.Reader{{Recv: 8, Read: 8, ToldRecv: 8, ToldRead: 5}}, 0},
		"one came after it":            {[]chat.Reader{{Recv: 5, Read: 5, Joined: 5}}, 0},
		"the newer news is another's":  {[]chat.Reader{{Recv: 8, Read: 8, ToldRecv: 7, ToldRead: 7}, {Recv: 6, Read: 2, ToldRecv: 3}}, 4},
		"what he has read himself":     {nil, 0},
		"somebody reads behind others": {[]chat.Reader{{Recv: 9, Read: 9, ToldRecv: 9, ToldRead: 9}, {Recv: 3, Read: 3}}, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			all := append(chat.Readers{{Recv: 9, Read: 9}}, tt.others...)
			if got, err := all.Newest(0, last); got != tt.want || err != nil {
				t.Errorf("news for the sender of %d among %+v: got %d, %v, want %d", alice, all, got, err, tt.want)
			}
		})
	}
}

func TestWhatIsBehindAllThatWasToldIsNoNews(t *testing.T) {
	all := chat.Readers{{Recv: 9, Read: 9, ToldRecv: 9, ToldRead: 9}, {Recv: 8, Read: 7, ToldRecv: 6, ToldRead: 5}, {Recv: 7, ToldRecv: 6}}
	if got := all.Told(); got != 0 {
		t.Errorf("told to all of %+v: got %d, want 0", all, got)
	}
	if got := all[:2].Told(); got != 5 {
		t.Errorf("told to all of %+v: got %d, want 5", all[:2], got)
	}
}

func TestAMessageIsForThoseWhoWereThere(t *testing.T) {
	n := chat.ReceiptCounts{Seq: 5}
	for _, r := range []chat.Reader{{Recv: 9, Read: 4, Joined: 1}, {Recv: 5, Read: 5}, {Joined: 5}, {Recv: 9, Read: 9, Joined: 6}} {
		n.Count(r)
	}
	if want := (chat.ReceiptCounts{Seq: 5, Recv: 2, Read: 1, Of: 3}); n != want {
		t.Errorf("got %+v, want %+v", n, want)
	}
}

func TestMarksNeverGoBack(t *testing.T) {
	const head = 9
	is := chat.Progress{Recv: 6, Read: 4, Hid: 1} // others know of 3
	tests := map[string]struct {
		to      chat.Marks
		private bool
		want    chat.Progress
	}{
		"nothing":             {chat.Marks{}, false, is},
		"back":                {chat.Marks{Recv: 5, Read: 2}, false, is},
		"received":            {chat.Marks{Recv: 8}, false, chat.Progress{Recv: 8, Read: 4, Hid: 1}},
		"read":                {chat.Marks{Read: 7}, false, chat.Progress{Recv: 7, Read: 7}},
		"read, told late":     {chat.Marks{Read: 4}, false, chat.Progress{Recv: 6, Read: 4}},
		"more than there is":  {chat.Marks{Recv: 20, Read: 20}, false, chat.Progress{Recv: 9, Read: 9}},
		"read for oneself":    {chat.Marks{Read: 7, Private: true}, false, chat.Progress{Recv: 7, Read: 7, Hid: 4}},
		"read in private":     {chat.Marks{Read: 7}, true, chat.Progress{Recv: 7, Read: 7, Hid: 4}},
		"back, for oneself":   {chat.Marks{Read: 1, Private: true}, false, is},
		"up to what he hides": {chat.Marks{Recv: 6, Read: 3}, false, is},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := is.Move(tt.to, head, tt.private); got != tt.want {
				t.Errorf("%+v with %+v, private %t: got %+v, want %+v", is, tt.to, tt.private, got, tt.want)
			}
		})
	}
}
