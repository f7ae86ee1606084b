package storetest

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

var deviceAccountTests = []test{
	{"a device comes back as it was created", testDevice},
	{"users and devices have one namespace", testNamespace},
	{"a device is found by what it shows", testShown},
	{"a certificate is one device's", testPinned},
	{"a device is changed by one of those who know it", testChangeDevice},
	{"devices are listed by owner and by name", testDevices},
}

func device(name, owner accounts.Name, n byte) accounts.Device {
	return accounts.Device{
		Name: name, Owner: owner, Rev: 1, Created: time.Unix(1700000000, 5).UTC(),
		Secrets: []accounts.Secret{{Digest: accounts.Digest{n, 1}, Created: time.Unix(1700000000, 7).UTC()}},
	}
}

func (k *kit) putDevice(d accounts.Device) accounts.Device {
	k.Helper()
	d.Rev++
	k.ok("put "+string(d.Name), k.accounts().PutDevice(k.ctx(), d))
	return d
}

func (k *kit) createDevice(d accounts.Device) accounts.Device {
	k.Helper()
	k.ok("create "+string(d.Name), k.accounts().CreateDevice(k.ctx(), d))
	return d
}

func (k *kit) sameDevice(what string, want accounts.Device) {
	k.Helper()
	got, err := k.accounts().Device(k.ctx(), want.Name)
	k.ok(what, err)
	same(k, what, got, want)
}

func testDevice(k *kit) {
	_, err := k.accounts().Device(k.ctx(), "lamp")
	k.is("none", err, accounts.ErrUnknown)
	d := k.createDevice(device("lamp", alice, 1))
	k.crash()
	k.sameDevice("device", d)
	secret := accounts.Secret{Digest: accounts.Digest{9, 31: 255}, Created: time.Unix(1800000000, 1).UTC()}
	d.Secrets = slices.Insert(d.Secrets, 0, secret)
	d.Pins = []accounts.Digest{{7}, {6}}
	d.Suspension = accounts.Suspension{Disabled: true, Reason: "lost", Until: time.Unix(2e9, 3).UTC()}
	d.Owner = bob
	d = k.putDevice(d)
	k.crash()
	k.sameDevice("changed device", d)
	_, err = k.accounts().User(k.ctx(), "lamp")
	k.is("as a user", err, accounts.ErrUnknown)
	users, err := k.accounts().Users(k.ctx(), "", 10)
	k.ok("users", err)
	equal(k, "users", len(users), 0)
	for what, err := range map[string]error{
		"password": k.accounts().SetPassword(k.ctx(), "lamp", "", "x"),
		"suspend":  k.accounts().SetSuspension(k.ctx(), "lamp", accounts.Suspension{}),
		"role":     k.accounts().SetRole(k.ctx(), "lamp", accounts.RoleAdmin),
		"recovery": k.accounts().SetRecovery(k.ctx(), "lamp", accounts.Recovery{}),
		"delete":   k.accounts().DeleteUser(k.ctx(), "lamp", time.Now()),
	} {
		k.is(what+" as a user", err, accounts.ErrUnknown)
	}
	k.sameDevice("device after all", d)
	d = k.putDevice(accounts.Device{Name: "lamp", Created: d.Created, Deleted: time.Unix(1900000000, 1).UTC(), Rev: d.Rev})
	k.crash()
	k.sameDevice("tombstone", d)
	leaving, err := k.accounts().Leaving(k.ctx(), "", 10)
	k.ok("leaving", err)
	same(k, "leaving", leaving, []accounts.Name{"lamp"})
	k.ok("left", k.accounts().Left(k.ctx(), "lamp"))
	leaving, err = k.accounts().Leaving(k.ctx(), "", 10)
	k.ok("leaving", err)
	equal(k, "leaving", len(leaving), 0)
}

func testNamespace(k *kit) {
	k.ok("user", k.accounts().CreateUser(k.ctx(), accounts.User{Name: alice, Password: "x"}))
	k.ok("user", k.accounts().CreateUser(k.ctx(), accounts.User{Name: bob}))
	k.ok("delete", k.accounts().DeleteUser(k.ctx(), bob, time.Unix(1800000000, 0)))
	d := k.createDevice(device("lamp", alice, 1))
	k.putDevice(accounts.Device{Name: "lamp", Created: d.Created, Deleted: time.Unix(1800000000, 0), Rev: 1})
	k.createDevice(device("lock", alice, 2))
	k.crash()
	for _, name := range []accounts.Name{alice, bob, "lamp", "lock"} {
		k.is("device "+string(name), k.accounts().CreateDevice(k.ctx(), device(name, alice, 3)), accounts.ErrTaken)
		k.is("user "+string(name), k.accounts().CreateUser(k.ctx(), accounts.User{Name: name}), accounts.ErrTaken)
	}
	u, err := k.accounts().User(k.ctx(), alice)
	k.ok("user", err)
	same(k, "user", u, accounts.User{Name: alice, Password: "x"})
	_, err = k.accounts().Device(k.ctx(), alice)
	k.is("a user as a device", err, accounts.ErrUnknown)
	k.is("change a user as a device", k.accounts().PutDevice(k.ctx(), accounts.Device{Name: alice, Rev: 1}), accounts.ErrChanged)
	var created atomic.Int64
	each(16, func(i int) {
		err := k.accounts().CreateUser(k.ctx(), accounts.User{Name: "both"})
		if i%2 == 0 {
			err = k.accounts().CreateDevice(k.ctx(), device("both", alice, byte(10+i)))
		}
		if err == nil {
			created.Add(1)
			return
		}
		if i%2 == 0 {
			k.is("second", err, accounts.ErrTaken)
		}
	})
	equal(k, "accounts of one name", created.Load() <= 1, true)
}

func testShown(k *kit) {
	one, two := device("one", alice, 1), device("two", alice, 2)
	one.Pins = []accounts.Digest{{7}}
	one, two = k.createDevice(one), k.createDevice(two)
	by := func(what string, find func(accounts.Digest) (accounts.Device, error), d accounts.Digest, want *accounts.Device) {
		k.Helper()
		got, err := find(d)
		if want == nil {
			k.is(what, err, accounts.ErrUnknown)
			return
		}
		k.ok(what, err)
		same(k, what, got, *want)
	}
	secret := func(d accounts.Digest) (accounts.Device, error) { return k.accounts().DeviceBySecret(k.ctx(), d) }
	pin := func(d accounts.Digest) (accounts.Device, error) { return k.accounts().DeviceByPin(k.ctx(), d) }
	by("secret", secret, accounts.Digest{1, 1}, &one)
	by("another's secret", secret, accounts.Digest{2, 1}, &two)
	by("no secret", secret, accounts.Digest{1}, nil)
	by("pin", pin, accounts.Digest{7}, &one)
	by("a pin as a secret", secret, accounts.Digest{7}, nil)
	by("a secret as a pin", pin, accounts.Digest{1, 1}, nil)

	one.Secrets = []accounts.Secret{{Digest: accounts.Digest{3, 1}}, one.Secrets[0]}
	one = k.putDevice(one)
	k.crash()
	by("new secret", secret, accounts.Digest{3, 1}, &one)
	by("the one before", secret, accounts.Digest{1, 1}, &one)
	one.Secrets, one.Pins = one.Secrets[:1], []accounts.Digest{{8}}
	one = k.putDevice(one)
	k.crash()
	by("new secret", secret, accounts.Digest{3, 1}, &one)
	by("dropped secret", secret, accounts.Digest{1, 1}, nil)
	by("dropped pin", pin, accounts.Digest{7}, nil)
	by("new pin", pin, accounts.Digest{8}, &one)
	one = k.putDevice(accounts.Device{Name: "one", Deleted: time.Unix(1800000000, 0).UTC(), Rev: one.Rev})
	by("secret of a deleted one", secret, accounts.Digest{3, 1}, nil)
	by("pin of a deleted one", pin, accounts.Digest{8}, nil)
}

func testPinned(k *kit) {
	one, two := device("one", alice, 1), device("two", alice, 2)
	one.Pins = []accounts.Digest{{7}}
	one, two = k.createDevice(one), k.createDevice(two)
	pinned := two
	pinned.Pins, pinned.Rev = []accounts.Digest{{6}, {7}}, 2
	k.is("another's pin", k.accounts().PutDevice(k.ctx(), pinned), accounts.ErrTaken)
	third := device("three", alice, 3)
	third.Pins = []accounts.Digest{{7}}
	k.is("create with another's pin", k.accounts().CreateDevice(k.ctx(), third), accounts.ErrTaken)
	k.crash()
	k.sameDevice("device", two)
	_, err := k.accounts().Device(k.ctx(), "three")
	k.is("a device that was not created", err, accounts.ErrUnknown)
	one.Pins = nil
	one = k.putDevice(one)
	k.ok("the pin is free", k.accounts().PutDevice(k.ctx(), pinned))
	got, err := k.accounts().DeviceByPin(k.ctx(), accounts.Digest{7})
	k.ok("by pin", err)
	same(k, "by pin", got, pinned)
	one.Pins, one.Rev = []accounts.Digest{{7}}, one.Rev+1
	k.is("back again", k.accounts().PutDevice(k.ctx(), one), accounts.ErrTaken)
}

func testChangeDevice(k *kit) {
	k.is("none", k.accounts().PutDevice(k.ctx(), device("lamp", alice, 1)), accounts.ErrChanged)
	d := k.createDevice(device("lamp", alice, 1))
	k.is("the same Rev", k.accounts().PutDevice(k.ctx(), d), accounts.ErrChanged)
	var changed atomic.Int64
	each(16, func(i int) {
		mine := d
		mine.Reason, mine.Rev = fmt.Sprint(i), 2
		err := k.accounts().PutDevice(k.ctx(), mine)
		if err == nil {
			changed.Add(1)
			return
		}
		k.is("second", err, accounts.ErrChanged)
	})
	equal(k, "changes of one revision", changed.Load(), 1)
}

func testDevices(k *kit) {
	k.ok("user", k.accounts().CreateUser(k.ctx(), accounts.User{Name: "ab"}))
	for i, name := range []accounts.Name{"b", "a-b", "aa", "a", "a_b", "c"} {
		k.createDevice(device(name, []accounts.Name{alice, bob}[i%2], byte(i)))
	}
	gone, err := k.accounts().Device(k.ctx(), "aa")
	k.ok("device", err)
	k.putDevice(accounts.Device{Name: "aa", Deleted: time.Unix(1800000000, 0), Rev: gone.Rev})
	k.crash()
	list := func(page func(after accounts.Name) ([]accounts.Device, error)) (names []accounts.Name) {
		k.Helper()
		for after := accounts.Name(""); ; {
			devices, err := page(after)
			k.ok("devices", err)
			if len(devices) == 0 {
				return names
			}
			for _, d := range devices {
				k.sameDevice("listed", d)
				names, after = append(names, d.Name), d.Name
			}
		}
	}
	of := func(owner accounts.Name) []accounts.Name {
		return list(func(after accounts.Name) ([]accounts.Device, error) {
			return k.accounts().DevicesOf(k.ctx(), owner, after, 2)
		})
	}
	all := list(func(after accounts.Name) ([]accounts.Device, error) { return k.accounts().Devices(k.ctx(), after, 4) })
	same(k, "devices", all, []accounts.Name{"a", "a-b", "a_b", "aa", "b", "c"})
	same(k, "alice's devices", of(alice), []accounts.Name{"a_b", "b"})
	same(k, "bob's devices", of(bob), []accounts.Name{"a", "a-b", "c"})
	same(k, "carol's devices", of(carol), nil)
	users, err := k.accounts().Users(k.ctx(), "", 10)
	k.ok("users", err)
	equal(k, "users", len(users), 1)
}
