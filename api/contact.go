package api

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// How many contacts an answer has, unless it is said, and at most: no more than chat gives.
const usualContacts, maxContacts = 100, 200

type requestContactInput struct {
	To       string `json:"to"`
	Greeting string `json:"greeting"`
}

type acceptContactInput struct {
	From string `json:"from"`
}

type listContactsInput struct {
	Cursor string `json:"cursor"`
	Limit  uint64 `json:"limit"`
}

// contact is somebody whom the caller knows, or is about to.
type contact struct {
	Who          accounts.Name     `json:"who"`
	State        chat.ContactState `json:"st"` // pending: the caller asked; requested: the caller was asked; accepted
	Conversation chat.Conversation `json:"c,omitempty"`
	Greeting     string            `json:"greeting,omitempty"`
	Since        int64             `json:"since,omitempty"` // Unix milliseconds
}

type listContactsOutput struct {
	Contacts []contact `json:"contacts"`
	Cursor   string    `json:"cursor,omitempty"` // absent: there are no more
}

func contactRows(ch *chat.Service) []*Operation {
	return []*Operation{
		change("contact.request", User, "Asks somebody to be a contact.",
			func(ctx context.Context, c Caller, in requestContactInput) (contact, chat.Commit, error) {
				to, err := userField("to", in.To)
				if err != nil {
					return contact{}, nil, err
				}
				state, commit, err := ch.RequestContact(ctx, c.Account, to, in.Greeting, c.Origin)
				out := contact{Who: to, State: state}
				if state == chat.ContactAccepted {
					out.Conversation = chat.Direct(c.Account, to)
				}
				return out, commit, err
			}),
		change("contact.accept", User, "Accepts somebody's request: both are contacts, and share a conversation.",
			func(ctx context.Context, c Caller, in acceptContactInput) (contact, chat.Commit, error) {
				from, err := userField("from", in.From)
				if err != nil {
					return contact{}, nil, err
				}
				k, commit, err := ch.AcceptContact(ctx, c.Account, from, c.Origin)
				return contactOf(k), commit, err
			}),
		read("contact.list", User, "Lists contacts and open requests in the order of their names.",
			func(ctx context.Context, c Caller, in listContactsInput) (listContactsOutput, error) {
				limit := clamp(in.Limit, usualContacts, maxContacts)
				list, err := ch.ListContacts(ctx, c.Account, accounts.Name(in.Cursor), limit)
				if err != nil {
					return listContactsOutput{}, err
				}
				out := listContactsOutput{Contacts: make([]contact, 0, len(list))}
				for _, k := range list {
					out.Contacts = append(out.Contacts, contactOf(k))
				}
				if len(list) == limit {
					out.Cursor = string(list[limit-1].Who)
				}
				return out, nil
			}),
	}
}

func contactOf(k chat.Contact) contact {
	return contact{Who: k.Who, State: k.State, Conversation: k.Conversation, Greeting: k.Greeting, Since: k.Since}
}

// userField reads a field that names a user.
func userField(field, value string) (accounts.Name, error) {
	name, err := accounts.ParseUser(value)
	if err != nil {
		return "", malformed("field %q is not the name of a user", field)
	}
	return name, nil
}
