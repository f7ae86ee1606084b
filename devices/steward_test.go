package devices

import (
	"slices"
	"testing"

	"github.com/magpie-im/magpie/accounts"
)

func TestWhatLooksAfterAHomeMayWhatItsOwnerMay(t *testing.T) {
	v := newVillage()
	v.add(t, "lamp", "olga", "h.1")
	v.add(t, "far", "adam", "h.2")
	ha, home := TypeHomeAssistant, "h.1"
	if _, err := v.Add(t.Context(), Added{ID: "ha", Owner: "adam", ThingPatch: ThingPatch{Type: &ha, Home: &home}}); err != nil {
		t.Fatal(err)
	}
	may := func(did accounts.Name, verb Verb, want string) {
		t.Helper()
		if _, err := v.May(t.Context(), "ha", did, verb); word(err) != want {
			t.Errorf("%s of %s: %v, want %s", verb, did, err, want)
		}
	}
	told := func(want bool) {
		t.Helper()
		lamp, err := v.Whole(t.Context(), "lamp")
		if err != nil {
			t.Fatal(err)
		}
		viewers, err := v.Viewers(t.Context(), lamp)
		if err != nil || slices.Contains(viewers, "ha") != want {
			t.Errorf("told of the lamp are %v, %v", viewers, err)
		}
		seen, err := v.Seen(t.Context(), "ha", "", 10)
		if got := slices.ContainsFunc(seen, func(t Thing) bool { return t.ID == "lamp" }); err != nil || got != want {
			t.Errorf("it sees %v, %v", seen, err)
		}
	}
	mount := func(did accounts.Name, want string) {
		t.Helper()
		if got, err := v.Mount(t.Context(), did); err != nil || got != want {
			t.Errorf("mount of %s: %q, %v, want %q", did, got, err, want)
		}
	}
	told(true)
	may("lamp", VerbControl, "yes")
	may("lamp", "cmd:on", "yes")
	may("lamp", VerbManage, "no")
	may("far", VerbSee, "unknown")
	mount("ha", "h.1")
	mount("lamp", "")
	mount("none", "")

	v.homes["h.1"]["adam"] = HomeGuest
	told(false)
	may("lamp", VerbSee, "unknown")
	mount("ha", "")
	v.homes["h.1"]["adam"] = HomeMember
	told(true)
	lamp := "lamp"
	if _, err := v.Set(t.Context(), "adam", "ha", ThingPatch{Type: &lamp}); err != nil {
		t.Fatal(err)
	}
	told(false)
	may("lamp", VerbSee, "unknown")
	mount("ha", "")
}
