package api

import (
	"context"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
)

// How many contacts an answer has, unless it is said, and at most: no more than chat gives.
const usualContacts, maxContacts = 100, 200

type requestContactInput struct {
	To       string `json:"to" required:"true"`
	Greeting string `json:"greeting" doc:"what he is shown with it" max:"300"`
}

type toInput struct {
	To string `json:"to" required:"true"`
}

type fromInput struct {
	From string `json:"from" doc:"who asked" required:"true"`
}

type rejectContactInput struct {
	From string `json:"from" doc:"who asked" required:"true"`
	Tell bool   `json:"tell" doc:"true: tell the one who asked"`
}

type whoInput struct {
	Who string `json:"who" doc:"the other one" required:"true"`
}

type setContactInput struct {
	Who    string    `json:"who" doc:"the other one" required:"true"`
	Remark *string   `json:"remark" doc:"the caller's own name for him; absent: as it was" max:"64"`
	Tags   *[]string `json:"tags" doc:"groups that the caller has him in; absent: as they were" max:"20"`
}

type listContactsInput struct {
	Version *uint64 `json:"ver" doc:"only what changed after this version, in the order of the changes; absent: all, by name"`
	Cursor  string  `json:"cursor"`
	Limit   uint64  `json:"limit"`
}

// contact is somebody whom the caller knows, or is about to, or does not want to.
type contact struct {
	Who          accounts.Name     `json:"who"`
	State        chat.ContactState `json:"st" doc:"pending: the caller asked; requested: he was asked"`
	Conversation chat.Conversation `json:"c,omitempty"`
	Greeting     string            `json:"greeting,omitempty"`
	Since        int64             `json:"since,omitempty" doc:"since when it is so, in Unix milliseconds"`
	Until        int64             `json:"until,omitempty" doc:"when the request ends, in Unix milliseconds"`
	Blocked      bool              `json:"blocked,omitempty"`
	Ignored      bool              `json:"ignored,omitempty"`
	Remark       string            `json:"remark,omitempty"`
	Tags         []string          `json:"tags,omitempty"`
}

type listContactsOutput struct {
	Contacts []contact `json:"contacts"`
	Version  uint64    `json:"ver" doc:"the version of the list: what is asked for next time"`
	More     bool      `json:"more,omitempty" doc:"with ver: there is more after it"`
	Cursor   string    `json:"cursor,omitempty" doc:"without ver: gives the next page; absent: there is no more"`
}

// contactChange is what a row calls to change what two people are to each other.
type contactChange func(ctx context.Context, who, other accounts.Name, origin any) (chat.Contact, chat.Commit, error)

// changing makes a row's function of one of chat, for the other one in a field.
func changing[In any](
	field string, name func(In) string, f func(context.Context, In, Caller, accounts.Name) (chat.Contact, chat.Commit, error),
) func(context.Context, Caller, In) (contact, chat.Commit, error) {
	return func(ctx context.Context, c Caller, in In) (contact, chat.Commit, error) {
		other, err := userField(field, name(in))
		if err != nil {
			return contact{}, nil, err
		}
		k, commit, err := f(ctx, in, c, other)
		return contactOf(k), commit, err
	}
}

func byTo(f contactChange) func(context.Context, Caller, toInput) (contact, chat.Commit, error) {
	return changing("to", func(in toInput) string { return in.To }, plain[toInput](f))
}

func byFrom(f contactChange) func(context.Context, Caller, fromInput) (contact, chat.Commit, error) {
	return changing("from", func(in fromInput) string { return in.From }, plain[fromInput](f))
}

func byWho(f contactChange) func(context.Context, Caller, whoInput) (contact, chat.Commit, error) {
	return changing("who", func(in whoInput) string { return in.Who }, plain[whoInput](f))
}

// plain is for rows whose input is the other one alone.
func plain[In any](f contactChange) func(context.Context, In, Caller, accounts.Name) (chat.Contact, chat.Commit, error) {
	return func(ctx context.Context, _ In, c Caller, other accounts.Name) (chat.Contact, chat.Commit, error) {
		return f(ctx, c.Account, other, c.Origin)
	}
}

func contactRows(ch *chat.Service) []*Operation {
	return []*Operation{
		change("contact.request", User, "Asks somebody to be a contact.",
			changing("to", func(in requestContactInput) string { return in.To },
				func(ctx context.Context, in requestContactInput, c Caller, to accounts.Name) (
					chat.Contact, chat.Commit, error,
				) {
					return ch.RequestContact(ctx, c.Account, to, in.Greeting, c.Origin)
				})),
		change("contact.accept", User, "Accepts somebody's request: both are contacts, and share a conversation.",
			byFrom(ch.AcceptContact)),
		change("contact.reject", User, "Refuses somebody's request, and his others for a day.",
			changing("from", func(in rejectContactInput) string { return in.From },
				func(ctx context.Context, in rejectContactInput, c Caller, from accounts.Name) (
					chat.Contact, chat.Commit, error,
				) {
					return ch.RejectContact(ctx, c.Account, from, in.Tell, c.Origin)
				})),
		change("contact.ignore", User, "Leaves somebody's request open, and counts it no more.", byFrom(ch.IgnoreContact)),
		change("contact.withdraw", User, "Takes the caller's request back.", byTo(ch.WithdrawContact)),
		change("contact.remove", User, "Ends that two people are contacts, for both.", byWho(ch.RemoveContact)),
		change("contact.block", User, "Lets nothing pass between the caller and somebody, in either direction.",
			byWho(ch.BlockContact)),
		change("contact.unblock", User, "Takes a block back.", byWho(ch.UnblockContact)),
		change("contact.set", User, "Keeps the caller's own name for a contact, and the groups he has him in.",
			changing("who", func(in setContactInput) string { return in.Who },
				func(ctx context.Context, in setContactInput, c Caller, who accounts.Name) (
					chat.Contact, chat.Commit, error,
				) {
					return ch.NoteContact(ctx, c.Account, who, in.Remark, in.Tags, c.Origin)
				})),
		read("contact.list", User, "Lists contacts, open requests and who is blocked, or what changed in that list.",
			func(ctx context.Context, c Caller, in listContactsInput) (listContactsOutput, error) {
				return listContacts(ctx, ch, c, in)
			}),
		read("box.list", User, "Lists conversations in which a stranger has written to the caller, who has not answered.",
			func(ctx context.Context, c Caller, in boxListInput) (convListOutput, error) {
				p, err := ch.Conversations(ctx, c.Account, chat.ListBox, in.Cursor, page(in.Limit))
				return convListOf(c.Account, p), err
			}),
		change("box.drop", User, "Puts a stranger's message away, without a word to him.",
			func(ctx context.Context, c Caller, in conversationInput) (nothing, chat.Commit, error) {
				commit, err := ch.PutAway(ctx, c.Account, chat.Conversation(in.Conversation), c.Origin)
				return nothing{}, commit, err
			}),
	}
}

type boxListInput struct {
	Cursor string `json:"cursor"`
	Limit  uint64 `json:"limit"`
}

type conversationInput struct {
	Conversation string `json:"c" required:"true"`
}

func listContacts(ctx context.Context, ch *chat.Service, c Caller, in listContactsInput) (listContactsOutput, error) {
	limit := clamp(in.Limit, usualContacts, maxContacts)
	if in.Version != nil {
		page, err := ch.ContactChanges(ctx, c.Account, *in.Version, limit)
		return listContactsOutput{Contacts: contactsOf(page.Contacts), Version: page.Version, More: page.More}, err
	}
	// The version first: what changes while the pages are read is newer.
	version, err := ch.ContactVersion(ctx, c.Account)
	if err != nil {
		return listContactsOutput{}, err
	}
	list, err := ch.ListContacts(ctx, c.Account, accounts.Name(in.Cursor), limit)
	if err != nil {
		return listContactsOutput{}, err
	}
	out := listContactsOutput{Contacts: contactsOf(list), Version: version}
	if len(list) == limit {
		out.Cursor = string(list[limit-1].Who)
	}
	return out, nil
}

func contactsOf(list []chat.Contact) []contact {
	out := make([]contact, 0, len(list))
	for _, k := range list {
		out = append(out, contactOf(k))
	}
	return out
}

func contactOf(k chat.Contact) contact {
	out := contact{
		Who: k.Who, State: k.State, Conversation: k.Conversation, Greeting: k.Greeting, Since: k.Since, Until: k.Until,
		Blocked: k.Blocked, Ignored: k.Ignored, Remark: k.Remark, Tags: k.Tags,
	}
	if out.State == chat.ContactNone {
		out.State = chat.ContactEnded
	}
	return out
}

// userField reads a field that names a user.
func userField(field, value string) (accounts.Name, error) {
	name, err := accounts.ParseUser(value)
	if err != nil {
		return "", malformed("field %q is not the name of a user", field)
	}
	return name, nil
}
