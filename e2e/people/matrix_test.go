package people

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
)

// relations are what the caller is to the other party of a request, or what one of the two is. The first nine are the
// caller's; in the last four he is a stranger, and the other one is what it says.
var relations = strings.Fields(`self contact stranger blocked blocker suspended deleted admin device
	off gone hidden nobody`)

// matrix says how each operation ends for each relation: ok, an err, or 401 for credentials that are refused. Blocked is who
// was a contact and has been blocked by the other one, blocker the other way round. Words that begin with a capital are no
// operations of the table but topics.
const matrix = `
                   self     contact    stranger   blocked    blocker    suspended deleted admin      device   off        gone       hidden     nobody
register           taken    taken      taken      taken      taken      taken     taken   taken      taken    taken      taken      taken      ok
login              401      401        401        401        401        401       401     401        401      401        401        401        401
logout             ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
account.delete     ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
account.recover    401      401        401        401        401        401       401     401        401      401        401        401        401
account.passwd     ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
account.export     ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
session.list       ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
session.kick       ok       gone       gone       gone       gone       401       401     gone       401      gone       gone       gone       gone
session.set        ok       gone       gone       gone       gone       401       401     gone       401      gone       gone       gone       gone

send               ok       ok         no_right   blocked    blocked    401       401     no_right   401      no_right   gone       no_conv    no_conv
read               bad      ok         no_conv    ok         ok         401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
recv               bad      ok         no_conv    ok         ok         401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
rcpt.list          bad      ok         no_conv    ok         ok         401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
history            bad      ok         no_conv    ok         ok         401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
op                 bad        ok         no_conv    blocked    blocked    401        401        no_conv    401        no_conv    no_conv    no_conv    no_conv
changes            bad        ok         no_conv    ok         ok         401        401        no_conv    401        no_conv    no_conv    no_conv    no_conv
history.edits      bad        no_msg     no_conv    no_msg     no_msg     401        401        no_conv    401        no_conv    no_conv    no_conv    no_conv
history.hide       bad        ok         no_conv    ok         ok         401        401        no_conv    401        no_conv    no_conv    no_conv    no_conv
history.clear      bad        ok         no_conv    ok         ok         401        401        no_conv    401        no_conv    no_conv    no_conv    no_conv
sync               ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
unread.get         ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
conv.list          ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
conv.get           bad      ok         no_conv    ok         ok         401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
conv.set           bad      ok         no_conv    ok         ok         401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
box.list           ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
box.drop           bad      no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv

contact.request    bad      ok         ok         blocked    blocked    401       401     ok         401      ok         gone       no_conv    no_conv
contact.accept     bad      ok         no_request ok         ok         401       401     no_request 401      no_request no_request no_request no_request
contact.reject     bad      no_request no_request no_request no_request 401       401     no_request 401      no_request no_request no_request no_request
contact.ignore     bad      no_request no_request no_request no_request 401       401     no_request 401      no_request no_request no_request no_request
contact.withdraw   bad      no_request no_request no_request no_request 401       401     no_request 401      no_request no_request no_request no_request
contact.remove     bad      ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
contact.block      bad      ok         ok         ok         ok         401       401     ok         401      ok         gone       no_conv    no_conv
contact.unblock    bad      ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
contact.set        bad      ok         no_right   ok         ok         401       401     no_right   401      no_right   no_right   no_right   no_right
contact.list       ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
contact.search     ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok

profile.get        ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         no_conv    no_conv
profile.set        ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
settings.get       ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
settings.set       ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
presence.get       ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok

group.create       ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
group.invited      ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
group.get          no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.invite       no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.answer       no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.join         no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.leave        no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.set          no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.link         no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.asking       no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.approve      no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.kick         no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.ban          no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.unban        no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.mute         no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.unmute       no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.role         no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.transfer     no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.dissolve     no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
group.members      no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv

board.snapshot     no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
board.get          no_conv  no_conv    no_conv    no_conv    no_conv    401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv

home.create        ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
home.get           bad        bad        bad        bad        bad        401        401        bad        401        bad        bad        bad        bad
home.set           bad        bad        bad        bad        bad        401        401        bad        401        bad        bad        bad        bad
home.grant         bad        bad        bad        bad        bad        401        401        bad        401        bad        bad        bad        bad
home.revoke        bad        bad        bad        bad        bad        401        401        bad        401        bad        bad        bad        bad
home.grants        bad        bad        bad        bad        bad        401        401        bad        401        bad        bad        bad        bad

device.add         taken      taken      taken      taken      taken      401        401        taken      401        taken      taken      taken      ok
device.list        ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
device.get         no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.set         no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.remove      no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.release     no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.reset       no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.claim       no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.claim.code  no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.transfer    no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.transfer.accept no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.transfer.cancel no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.transfers   ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
device.grant       no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.revoke      no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.secret      no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.pin         no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.unpin       no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.shadow      no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.desire      no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.call        no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.command     no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.commands    no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.cancel      no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.events      no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.alarms      no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.alarm.ack   no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
device.presence    no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
job.create         no_device  no_device  no_device  no_device  no_device  401        401        no_device  401        no_device  no_device  no_device  no_device
job.get            no_job     no_job     no_job     no_job     no_job     401        401        no_job     401        no_job     no_job     no_job     no_job
job.executions     no_job     no_job     no_job     no_job     no_job     401        401        no_job     401        no_job     no_job     no_job     no_job
job.cancel         no_job     no_job     no_job     no_job     no_job     401        401        no_job     401        no_job     no_job     no_job     no_job
job.remove         no_job     no_job     no_job     no_job     no_job     401        401        no_job     401        no_job     no_job     no_job     no_job
job.list           ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
job.key            ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok

loc.share          bad        ok         no_right   blocked    blocked    401        401        no_right   401        no_right   gone       no_conv    no_conv
loc.unshare        ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
loc.shares         ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
loc.follow         ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
loc.last           ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
loc.history        ok         no_place   no_place   no_place   no_place   401        401        no_place   401        no_place   no_place   no_place   no_place
geo.near           ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
geo.watch          ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
geo.unwatch        ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
trip.request       bad        ok         no_right   no_right   no_right   401        401        no_right   401        no_right   no_right   no_right   no_right
trip.accept        no_trip    no_trip    no_trip    no_trip    no_trip    401        401        no_trip    401        no_trip    no_trip    no_trip    no_trip
trip.decline       no_trip    no_trip    no_trip    no_trip    no_trip    401        401        no_trip    401        no_trip    no_trip    no_trip    no_trip
trip.cancel        no_trip    no_trip    no_trip    no_trip    no_trip    401        401        no_trip    401        no_trip    no_trip    no_trip    no_trip
trip.end           no_trip    no_trip    no_trip    no_trip    no_trip    401        401        no_trip    401        no_trip    no_trip    no_trip    no_trip
trip.get           no_trip    no_trip    no_trip    no_trip    no_trip    401        401        no_trip    401        no_trip    no_trip    no_trip    no_trip
trip.list          ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
fence.put          ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
fence.list         ok         ok         ok         ok         ok         401        401        ok         401        ok         ok         ok         ok
fence.remove       no_place   no_place   no_place   no_place   no_place   401        401        no_place   401        no_place   no_place   no_place   no_place

admin/user.add     no_right no_right   no_right   no_right   no_right   401       401     taken      401      no_right   no_right   no_right   no_right
admin/user.passwd  no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/user.list    no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/user.show    no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/user.disable no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/user.enable  no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/user.kick    no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/user.delete  no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/user.role    no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/profile.mark no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/user.recover no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/invite.add   no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/invite.list  no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/invite.revoke no_right no_right   no_right   no_right   no_right   401       401     gone       401      no_right   no_right   no_right   no_right
admin/audit.list   no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/job.create   no_right   no_right   no_right   no_right   no_right   401        401        no_device  401        no_right   no_right   no_right   no_right
admin/job.get      no_right   no_right   no_right   no_right   no_right   401        401        no_job     401        no_right   no_right   no_right   no_right
admin/job.executions no_right   no_right   no_right   no_right   no_right   401        401        no_job     401        no_right   no_right   no_right   no_right
admin/job.cancel   no_right   no_right   no_right   no_right   no_right   401        401        no_job     401        no_right   no_right   no_right   no_right
admin/job.remove   no_right   no_right   no_right   no_right   no_right   401        401        no_job     401        no_right   no_right   no_right   no_right
admin/job.list     no_right   no_right   no_right   no_right   no_right   401        401        ok         401        no_right   no_right   no_right   no_right
admin/session.list no_right no_right   no_right   no_right   no_right   401       401     ok         401      no_right   no_right   no_right   no_right
admin/session.show no_right no_right   no_right   no_right   no_right   401       401     gone       401      no_right   no_right   no_right   no_right
admin/session.drop no_right no_right   no_right   no_right   no_right   401       401     gone       401      no_right   no_right   no_right   no_right
admin/fleet.add no_right no_right no_right no_right no_right 401 401 taken 401 no_right no_right no_right no_right
admin/fleet.list no_right no_right no_right no_right no_right 401 401 ok 401 no_right no_right no_right no_right
admin/fleet.show no_right no_right no_right no_right no_right 401 401 no_device 401 no_right no_right no_right no_right
admin/fleet.secret no_right no_right no_right no_right no_right 401 401 no_device 401 no_right no_right no_right no_right
admin/fleet.code no_right no_right no_right no_right no_right 401 401 no_device 401 no_right no_right no_right no_right
admin/fleet.suspend no_right no_right no_right no_right no_right 401 401 no_device 401 no_right no_right no_right no_right
admin/fleet.resume no_right no_right no_right no_right no_right 401 401 no_device 401 no_right no_right no_right no_right
admin/fleet.remove no_right no_right no_right no_right no_right 401 401 no_device 401 no_right no_right no_right no_right
admin/fleet.grant no_right no_right no_right no_right no_right 401 401 no_device 401 no_right no_right no_right no_right
admin/fleet.batch.add no_right no_right no_right no_right no_right 401 401 ok 401 no_right no_right no_right no_right
admin/fleet.batch.list no_right no_right no_right no_right no_right 401 401 ok 401 no_right no_right no_right no_right
admin/fleet.batch.end no_right no_right no_right no_right no_right 401 401 gone 401 no_right no_right no_right no_right
admin/store.checkpoint no_right no_right no_right no_right   no_right   401       401     no_right   401      no_right   no_right   no_right   no_right

Send               ok       ok         no_right   blocked    blocked    401       401     no_right   401      no_right   gone       no_conv    no_conv
Read               bad      ok         no_conv    ok         ok         401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
Recv               bad      ok         no_conv    ok         ok         401       401     no_conv    401      no_conv    no_conv    no_conv    no_conv
Op                 bad        ok         no_conv    blocked    blocked    401        401        no_conv    401        no_conv    no_conv    no_conv    no_conv
Typing             bad      ok         no_right   blocked    blocked    401       401     no_right   401      no_right   gone       no_conv    no_conv
Loc                bad      ok         no_right   blocked    blocked    401       401     no_right   401      no_right   gone       no_conv    no_conv
Live               refused  ok         refused    ok         ok         401       401     refused    401      refused    refused    refused    refused
State              ok       ok         ok         ok         ok         401       401     ok         401      ok         ok         ok         ok
Presence           refused  ok         refused    ok         ok         401       401     refused    401      refused    refused    refused    refused
`

// inputs are what the operations are asked, about the other one; who has none is asked for nothing in particular.
var inputs = map[string]func(c *cell) M{
	"register":         func(c *cell) M { return M{"uid": c.other, "password": Password} },
	"login":            func(c *cell) M { return M{"uid": c.other, "password": "another password"} },
	"account.delete":   func(*cell) M { return M{"password": Password} },
	"account.recover":  func(c *cell) M { return M{"uid": c.other, "code": "none", "password": "another password"} },
	"account.passwd":   func(*cell) M { return M{"old": Password, "new": "another password"} },
	"session.kick":     func(c *cell) M { return M{"id": c.session} },
	"session.set":      func(c *cell) M { return M{"id": c.session, "name": "phone"} },
	"send":             func(c *cell) M { return M{"to": c.other, "body": M{"text": "hello"}} },
	"read":             func(c *cell) M { return M{"c": c.conversation(), "seq": 1} },
	"recv":             func(c *cell) M { return M{"c": c.conversation(), "seq": 1} },
	"rcpt.list":        func(c *cell) M { return M{"c": c.conversation(), "seq": 1} },
	"history":          func(c *cell) M { return M{"c": c.conversation()} },
	"op":               func(c *cell) M { return M{"c": c.conversation(), "op": "react", "seq": 1, "emoji": "+"} },
	"changes":          func(c *cell) M { return M{"c": c.conversation()} },
	"history.edits":    func(c *cell) M { return M{"c": c.conversation(), "seq": 1000} },
	"history.hide":     func(c *cell) M { return M{"c": c.conversation(), "seqs": []int{1}} },
	"history.clear":    func(c *cell) M { return M{"c": c.conversation()} },
	"conv.get":         func(c *cell) M { return M{"c": c.conversation()} },
	"conv.set":         func(c *cell) M { return M{"c": c.conversation(), "pin": true} },
	"box.drop":         func(c *cell) M { return M{"c": c.conversation()} },
	"contact.request":  func(c *cell) M { return M{"to": c.other} },
	"contact.accept":   func(c *cell) M { return M{"from": c.other} },
	"contact.reject":   func(c *cell) M { return M{"from": c.other} },
	"contact.ignore":   func(c *cell) M { return M{"from": c.other} },
	"contact.withdraw": func(c *cell) M { return M{"to": c.other} },
	"contact.remove":   func(c *cell) M { return M{"who": c.other} },
	"contact.block":    func(c *cell) M { return M{"who": c.other} },
	"contact.unblock":  func(c *cell) M { return M{"who": c.other} },
	"contact.set":      func(c *cell) M { return M{"who": c.other, "remark": "R."} },
	"contact.search":   func(c *cell) M { return M{"q": c.other, "mode": "exact"} },
	"profile.get":      func(c *cell) M { return M{"uid": c.other} },
	"profile.set":      func(*cell) M { return M{"name": "Somebody"} },
	"settings.set":     func(*cell) M { return M{"strangers": "everyone"} },
	"group.create":     func(c *cell) M { return M{"title": "R.", "members": []string{c.other}} },
	"group.get":        noRoom,
	"group.invite":     noRoom,
	"group.answer":     noRoom,
	"group.join":       noRoom,
	"group.leave":      noRoom,
	"board.snapshot":   func(*cell) M { return M{"c": "b.none", "seq": 1, "body": M{}} },
	"board.get":        func(*cell) M { return M{"c": "b.none"} },
	"group.set":        noRoom,
	"group.link":       noRoom,
	"group.asking":     noRoom,
	"group.kick":       noRoom,
	"group.mute":       noRoom,
	"group.unmute":     noRoom,
	"group.dissolve":   noRoom,
	"group.members":    noRoom,
	"group.approve":    noRoomFor,
	"group.ban":        noRoomFor,
	"group.unban":      noRoomFor,
	"group.role":       noRoomFor,
	"group.transfer":   func(c *cell) M { return M{"c": "g.none", "to": c.other} },
	"home.create":      func(c *cell) M { return M{"title": "H.", "members": []string{c.other}} },
	"home.get":         noHome,
	"home.set":         noHome,
	"home.revoke":      noHome,
	"home.grants":      noHome,
	"home.grant":       func(c *cell) M { return M{"c": "none", "to": c.other, "verbs": []string{"see"}} },
	"device.add":       byDID,
	"device.get":       byDID,
	"device.set":       byDID,
	"device.remove":    byDID,
	"device.release":   byDID,
	"device.reset":     byDID,
	"device.revoke":    byDID,
	"device.secret":    byDID,
	"device.pin":       byDID,
	"device.unpin":     byDID,
	"device.shadow":    byDID,
	"device.desire":    func(c *cell) M { return M{"did": c.other, "desired": M{"power": "on"}} },
	"device.call":      func(c *cell) M { return M{"did": c.other, "name": "on"} },
	"device.command":   byDID,
	"device.commands":  byDID,
	"device.cancel":    byDID,
	"device.events":    byDID,
	"device.alarms":    byDID,
	"device.alarm.ack": byDID,
	"device.presence":  byDID,

	"device.claim":           byDID,
	"device.claim.code":      byDID,
	"device.transfer":        func(c *cell) M { return M{"did": c.other, "to": c.other} },
	"device.transfer.accept": byDID,
	"device.transfer.cancel": byDID,

	"admin/fleet.add":     byDID,
	"admin/fleet.show":    byDID,
	"admin/fleet.secret":  byDID,
	"admin/fleet.code":    byDID,
	"admin/fleet.suspend": byDID,
	"admin/fleet.resume":  byDID,
	"admin/fleet.remove":  byDID,
	"admin/fleet.grant":   func(c *cell) M { return M{"did": c.other, "to": c.other, "verbs": []string{"see"}} },

	"device.grant": func(c *cell) M { return M{"did": c.other, "to": c.other, "verbs": []string{"see"}} },
	"presence.get": func(c *cell) M { return M{"who": []string{c.other}} },

	"job.create":     noTarget,
	"job.get":        noJob,
	"job.executions": noJob,
	"job.cancel":     noJob,
	"job.remove":     noJob,

	"admin/job.create":     noTarget,
	"admin/job.get":        noJob,
	"admin/job.executions": noJob,
	"admin/job.cancel":     noJob,
	"admin/job.remove":     noJob,

	"loc.share":   func(c *cell) M { return M{"to": c.other} },
	"loc.unshare": func(c *cell) M { return M{"to": c.other} },
	"loc.last":    func(c *cell) M { return M{"who": c.other} },
	"loc.history": func(c *cell) M { return M{"who": c.other, "device": "phone"} },
	"geo.near":    func(*cell) M { return M{"lat": 1, "lon": 2} },
	"loc.follow":  func(c *cell) M { return M{"who": c.other, "every": 5} },
	"geo.watch":   func(*cell) M { return M{"lat": 1, "lon": 2} },
	"geo.unwatch": func(*cell) M { return M{"id": "w"} },
	"trip.request": func(c *cell) M {
		return M{"drivers": []string{c.other}, "from": M{"lat": 1, "lon": 2}, "to": M{"lat": 1, "lon": 3}}
	},
	"trip.accept":  noTrip,
	"trip.decline": noTrip,
	"trip.cancel":  noTrip,
	"trip.end":     noTrip,
	"trip.get":     noTrip,
	"fence.put": func(*cell) M {
		return M{"name": "F.", "points": []M{{"lat": 1, "lon": 2}}, "radius": 100}
	},
	"fence.remove": func(*cell) M { return M{"id": "none"} },

	"admin/user.add":      func(c *cell) M { return M{"name": c.other, "password": Password} },
	"admin/user.passwd":   func(c *cell) M { return M{"name": c.other, "password": Password} },
	"admin/user.show":     byName,
	"admin/user.disable":  byName,
	"admin/user.enable":   byName,
	"admin/user.kick":     byName,
	"admin/user.delete":   byName,
	"admin/user.role":     byName,
	"admin/user.recover":  byName,
	"admin/profile.mark":  byName,
	"admin/invite.revoke": func(*cell) M { return M{"id": "none"} },
	"admin/session.show":  func(c *cell) M { return M{"account": c.other, "client": "none"} },
	"admin/session.drop":  func(c *cell) M { return M{"account": c.other, "client": "none"} },
}

// noTarget makes a job for a thing that there is not, and noJob asks about a job that there is not.
func noTarget(c *cell) M { return M{"devices": []string{c.other}, "document": M{}} }
func noJob(*cell) M      { return M{"job": "none"} }

// byDID asks about a thing of the other one's name, of which there is none: what there is has a matrix of its own in api.
func byDID(c *cell) M { return M{"did": c.other} }

func noTrip(*cell) M { return M{"id": "none"} }

func byName(c *cell) M { return M{"name": c.other} }

// noRoom names a room that is none: what there is of rooms has a matrix of its own.
func noRoom(*cell) M { return M{"c": "g.none"} }

// noHome is no name of a home: what there is of homes has a matrix of its own in api.
func noHome(*cell) M { return M{"c": "none", "id": "none"} }

func noRoomFor(c *cell) M { return M{"c": "g.none", "who": c.other, "role": "admin"} }

// topics are what is published and subscribed.
var topics = map[string]func(p *Person, c *cell) string{
	"Send": func(p *Person, c *cell) string { return publish(p, "im/to/"+c.other+"/send", "hello") },
	"Read": func(p *Person, c *cell) string { return publish(p, "im/c/"+c.conversation()+"/read", "1") },
	"Recv": func(p *Person, c *cell) string { return publish(p, "im/c/"+c.conversation()+"/recv", "1") },
	"Op": func(p *Person, c *cell) string {
		return publish(p, "im/c/"+c.conversation()+"/op", `{"op":"react","seq":1,"emoji":"+"}`)
	},
	"Typing": func(p *Person, c *cell) string { return publish(p, "im/c/"+c.conversation()+"/typing", "1") },
	"Loc": func(p *Person, c *cell) string {
		return publish(p, "im/c/"+c.conversation()+"/loc", `{"lat":1,"lon":2}`)
	},
	"Live":     func(p *Person, c *cell) string { return subscribed(p, "im/c/"+c.conversation()+"/live") },
	"State":    func(p *Person, _ *cell) string { return publish(p, "im/u/me/state", "bg") },
	"Presence": func(p *Person, c *cell) string { return subscribed(p, "im/p/"+c.other) },
}

func subscribed(p *Person, filter string) string {
	if p.Subscribe(filter, 0) >= 0x80 {
		return "refused"
	}
	return ""
}

func publish(p *Person, topic, payload string) string {
	_, word := p.Publish(topic, []byte(payload))
	return word
}

// table is the matrix, taken apart: by operation and relation.
func table(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for i, line := range strings.Split(strings.TrimSpace(matrix), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if i == 0 {
			if !slices.Equal(words, relations) {
				t.Fatalf("the matrix has columns %v, want %v", words, relations)
			}
			continue
		}
		name, cells := words[0], words[1:]
		if len(cells) != len(relations) || all[name] != nil {
			t.Errorf("the row %s has %d cells (a second time: %t), want %d", name, len(cells), all[name] != nil, len(relations))
			continue
		}
		all[name] = map[string]string{}
		for j, word := range cells {
			all[name][relations[j]] = word
		}
	}
	return all
}

// A new operation has to say how it ends for everybody.
func TestEveryOperationHasARow(t *testing.T) {
	rows := table(t)
	known := map[string]bool{}
	for _, op := range api.New(api.Rooms{}).Operations() {
		known[op.Name] = true
		if rows[op.Name] == nil {
			t.Errorf("the matrix has no row for %s", op.Name)
		}
	}
	for _, op := range api.NewAdmin(api.Rooms{}).Operations() {
		known["admin/"+op.Name] = true
		if rows["admin/"+op.Name] == nil {
			t.Errorf("the matrix has no row for admin/%s", op.Name)
		}
	}
	for name := range topics {
		known[name] = true
		if rows[name] == nil {
			t.Errorf("the matrix has no row for %s", name)
		}
	}
	for name := range rows {
		if !known[name] {
			t.Errorf("the matrix has a row for %s, and there is no such operation", name)
		}
	}
	for name := range inputs {
		if !known[name] {
			t.Errorf("there is an input for %s, and there is no such operation", name)
		}
	}
}

// cell is one try: one operation, in one relation, by somebody who was made for it.
type cell struct {
	place         *Place
	node          *brokertest.Node
	op, relation  string
	caller, other string
	token         string // of the caller
	others        string // of the other one; empty: there is none
	session       string // of the other one
}

func (c *cell) conversation() string { return Direct(c.caller, c.other) }

func (c *cell) as(t *testing.T, token, method string, in M) M {
	t.Helper()
	out, word := c.place.Post(t.Context(), token, "", method, in)
	if word != "" {
		t.Fatalf("%s %v: %s %v", method, in, word, out)
	}
	return out
}

// prepare makes the two what the relation says.
func (c *cell) prepare(t *testing.T) {
	t.Helper()
	if c.relation == "self" {
		c.other = c.caller
	}
	c.token = c.place.Register(c.caller)
	if c.relation != "self" && c.relation != "nobody" {
		c.others = c.place.Register(c.other)
	}
	c.session = "none"
	if owner := cmp.Or(c.others, c.token); c.relation != "nobody" {
		for _, s := range items(c.as(t, owner, "session.list", M{}), "sessions") {
			c.session, _ = s["id"].(string)
		}
	}
	switch c.relation {
	case "contact", "blocked", "blocker":
		c.as(t, c.token, "contact.request", M{"to": c.other, "greeting": "hello"})
		c.as(t, c.others, "contact.accept", M{"from": c.caller})
		if c.relation == "blocked" {
			c.as(t, c.others, "contact.block", M{"who": c.caller})
		}
		if c.relation == "blocker" {
			c.as(t, c.token, "contact.block", M{"who": c.other})
		}
	case "suspended", "off":
		if err := c.node.Disable(t, map[string]string{"suspended": c.caller, "off": c.other}[c.relation]); err != nil {
			t.Fatal(err)
		}
	case "deleted":
		c.as(t, c.token, "account.delete", M{"password": Password})
	case "gone":
		c.as(t, c.others, "account.delete", M{"password": Password})
	case "hidden":
		c.as(t, c.others, "settings.set", M{"find": M{"uid": false}})
	case "admin":
		makeAdmin(t, c.node, c.caller)
	case "device":
		c.token = "no-device-has-one-yet"
	}
}

// try makes the request, and gives how it ended.
func (c *cell) try(t *testing.T) string {
	t.Helper()
	if topic := topics[c.op]; topic != nil {
		name := c.caller
		if c.relation == "device" {
			name = "dev:" + name
		}
		p := c.place.Absent(name, c.token, "matrix", V5)
		if err := p.Connect(); err != nil {
			return "401"
		}
		defer p.Leave()
		return word(topic(p, c))
	}
	in := M{}
	if input := inputs[c.op]; input != nil {
		in = input(c)
	}
	_, ended := c.place.Post(t.Context(), c.token, "", c.op, in)
	return word(ended)
}

func word(ended string) string {
	switch ended {
	case "":
		return "ok"
	case Unauthenticated, "credentials", "disabled":
		return "401"
	}
	return ended
}

// makeAdmin gives an account the role of an administrator.
func makeAdmin(t *testing.T, n *brokertest.Node, name string) {
	t.Helper()
	if status, answer := n.Admin(t, "user.role", fmt.Sprintf(`{"name":%q,"role":"admin"}`, name)); status != 200 {
		t.Fatalf("make %s an administrator: %d %v", name, status, answer)
	}
}

func TestEveryCellOfTheMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	rows := table(t)
	place, node := Inside(t, func(c *broker.Config) { c.Limits.LoginFailures, c.Limits.AccountFailures = 0, 0 })
	n := 0
	for _, name := range some(t, sortedKeys(rows)) {
		t.Run(name, func(t *testing.T) {
			for _, relation := range relations {
				n++
				c := &cell{place: place, node: node, op: name, relation: relation,
					caller: fmt.Sprint("caller", n), other: fmt.Sprint("other", n)}
				t.Run(relation, func(t *testing.T) {
					c.prepare(t)
					if got, want := c.try(t), rows[name][relation]; got != want {
						t.Errorf("got %s, want %s", got, want)
					}
				})
			}
		})
	}
}
