package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
)

// homeMatrix says how each operation on what olga's home does ends, by who asks for it, in this order; what is said of one person
// does not matter to the next one. A row may be there again with another body.
const homeMatrix = `
                       olga          adam          mary          gus           bob       body
scene.put          ok            ok            no_right      no_right      no_conv   "id":"s","steps":[{"did":"lamp","name":"unlock"}]
scene.put          ok            ok            ok            no_right      no_conv   "steps":[{"did":"lamp","desired":{"a":1}}]
scene.put          bad           bad           bad           no_right      no_conv   "id":"A","steps":[{"did":"lamp","desired":{"a":1}}]
scene.put          bad           bad           bad           no_right      no_conv   "id":"new","steps":[{"did":"none","desired":{"a":1}}]
scene.put          bad           bad           bad           bad           bad       "id":"new","steps":[{"did":"lamp","nonsense":1}]
scene.list         ok            ok            ok            ok            no_conv
scene.get          ok            ok            ok            ok            no_conv   "id":"s"
scene.get          no_automation no_automation no_automation no_automation no_conv   "id":"none"
scene.run          ok            ok            ok            ok            no_conv   "id":"s","run":"r"
scene.run          no_automation no_automation no_automation no_automation no_conv   "id":"none"
scene.run          bad           bad           bad           bad           bad       "id":"s","run":"R 1"
scene.remove       ok            ok            no_right      no_right      no_conv   "id":"gone"
home.place.put     ok            ok            no_right      no_right      no_conv   "zone":"Europe/Berlin","lat":52.5,"lon":13.4
home.place.put     bad           bad           no_right      no_right      no_conv   "zone":"Europe/Nowhere"
home.place.put     bad           bad           no_right      no_right      no_conv   "lat":91,"lon":0
home.place.put     bad           bad           bad           bad           bad       "lat":1
home.place.get     ok            ok            ok            ok            no_conv
automation.put     ok            ok            no_right      no_right      no_conv   "id":"a","triggers":[{"on":"event"}],"actions":[{"do":"stop"}]
automation.put     ok            ok            ok            no_right      no_conv   "triggers":[{"on":"sun","sun":"set"}],"actions":[{"do":"stop"}]
automation.put     bad           bad           bad           no_right      no_conv   "triggers":[{"on":"event"}]
automation.put     bad           bad           bad           no_right      no_conv   "triggers":[{"on":"event","did":"none"}],"actions":[{"do":"stop"}]
automation.list    ok            ok            ok            no_right      no_conv
automation.get     ok            ok            ok            no_right      no_conv   "id":"a"
automation.get     no_automation no_automation no_automation no_right      no_conv   "id":"none"
automation.enable  ok            ok            no_right      no_right      no_conv   "id":"a","on":false
automation.enable  no_automation no_automation no_automation no_right      no_conv   "id":"none"
automation.test    ok            ok            ok            no_right      no_conv   "id":"a","trigger":{"x":1}
automation.test    ok            ok            ok            no_right      no_conv   "triggers":[{"on":"event"}],"actions":[{"do":"stop"}]
automation.test    bad           bad           bad           no_right      no_conv   "id":"a","trigger":3
automation.test    no_automation no_automation no_automation no_right      no_conv   "id":"none"
automation.traces  ok            ok            ok            no_right      no_conv   "id":"a"
automation.remove  ok            ok            no_right      no_right      no_conv   "id":"gone"
`

func TestWhoMayDoWhatWithWhatAHomeDoes(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(homeMatrix), "\n")
	people := strings.Fields(lines[0])
	people = people[:len(people)-1]
	n, home := street(t)
	ask := func(who accounts.Name, method, body string) string {
		if body != "" {
			body = "," + body
		}
		return n.ends(who, method, fmt.Sprintf(`{"c":%q%s}`, home, body))
	}
	for _, who := range people {
		for _, id := range []string{"s", "gone"} {
			ask("olga", "scene.put", `"id":"`+id+`","title":"S.","steps":[{"did":"lamp","name":"unlock"}]`)
			ask("olga", "automation.put", `"id":"`+strings.Replace(id, "s", "a", 1)+`","triggers":[{"on":"event"}],"actions":[{"do":"stop"}]`)
		}
		ask("olga", "home.place.put", `"lat":1,"lon":2`)
		for _, line := range lines[1:] {
			cells := strings.Fields(line)
			method, body := cells[0], ""
			if len(cells) > len(people)+1 {
				body = strings.Join(cells[len(people)+1:], " ")
			}
			want := cells[1+slices.Index(people, who)]
			if got := ask(accounts.Name(who), method, body); got != want {
				t.Errorf("%s: %s {%s}: %s, want %s", who, method, body, got, want)
			}
		}
	}
}

func TestWhatIsWrongWithADefinitionIsSaid(t *testing.T) {
	n, home := street(t)
	_, err := n.call("olga", "automation.put", "", fmt.Sprintf(`{"c":%q,"triggers":[{"on":"event"}],"actions":[{"do":"if","if":"now.hours > 1"}]}`, home))
	if f, ok := faultOf(err); !ok || f != "actions.0: it has no field hours (1:5)" {
		t.Errorf("what is said is %q", f)
	}
}

func faultOf(err error) (text string, ok bool) {
	f, ok := api.FaultOf(err)
	return f.Text, ok
}
