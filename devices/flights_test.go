package devices

import "testing"

// What has arrived while a device was attended to is not sent again before that is dealt with.
func TestWhatHasArrivedIsNotSentAgain(t *testing.T) {
	var f flights
	f.begin("lamp")
	arrive := f.depart("lamp", "c1")
	all := f.peek("lamp")
	if !arrive(7, 7) {
		t.Error("the first news do not count")
	}
	if _, n, flies, _ := f.state("lamp", "c1"); n != 0 || !flies {
		t.Errorf("%d fly, and whether this one does is %v, want none, true", n, flies)
	}
	f.drop("lamp", len(all))
	if at := f.ackedAt("lamp", "c1"); at != 7 {
		t.Errorf("acknowledged at %d, want 7", at)
	}
	all = f.peek("lamp")
	f.drop("lamp", len(all))
	if _, _, flies, _ := f.state("lamp", "c1"); flies {
		t.Error("it is on its way after that was dealt with")
	}

	lost := f.depart("lamp", "c1")
	lost(0, 9)
	if _, _, flies, at := f.state("lamp", "c1"); flies || at != 9 {
		t.Errorf("flies %v, lost at %d, want false, 9", flies, at)
	}
}
