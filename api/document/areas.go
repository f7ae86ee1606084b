package document

import (
	"strings"

	"github.com/magpie-im/magpie/api"
)

const adminArea = "admin"

// areas are what operations are about, for people who look for one. An area that is not here has its name and no more.
var areas = map[string]string{
	"account":  "Having an account: logging in and out, passwords, the end of it.",
	"message":  "Sending, reading, and being up to date.",
	"conv":     "The caller's side of his conversations.",
	"unread":   "What was not read.",
	"contact":  "Asking people, being asked, and finding them.",
	"box":      "What strangers wrote.",
	"profile":  "What people say of themselves.",
	"settings": "Who may write to the caller, see him and find him.",
	"presence": "Who is there.",
	"session":  "The caller's devices.",
	"history":  "What was said.",
	"group":    "Groups, channels, live rooms, boards and trips.",
	"board":    "What is drawn on a board.",
	"home":     "Conversations of people who live together, and of their things.",
	"job":      "What many devices are to do, one after the other: firmware.",
	"device":   "Things: whose they are, who may do what with them, and how they log in.",
	"rcpt":     "Who has received and read a message.",
	adminArea:  "For administrators.",
}

// areaOf gives what stands before the dot of an operation's name.
func areaOf(op *api.Operation) string {
	if area, _, ok := strings.Cut(op.Name, "."); ok {
		return area
	}
	switch {
	case op.Access == api.Public, op.Name == "logout":
		return "account"
	case op.Name == "history":
		return "history"
	}
	return "message"
}

// tags are the areas that there are.
func (o *openAPI) tags() []object {
	out := make([]object, 0, len(o.areas))
	for _, name := range o.areas {
		tag := object{"name": name}
		if text := areas[name]; text != "" {
			tag["description"] = text
		}
		out = append(out, tag)
	}
	return out
}
