package api

import (
	"context"
	"encoding/json"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

type teleInput struct {
	DID    string   `json:"did" required:"true"`
	Keys   []string `json:"keys" doc:"absent: all, up to 32" max:"32" example:"[\"t\"]"`
	From   int64    `json:"from" doc:"Unix milliseconds"`
	To     int64    `json:"to" doc:"before this; absent: now"`
	Agg    string   `json:"agg" doc:"of each of some times; absent: points as they are" enum:"avg|min|max|sum|count|first|last"`
	Every  int64    `json:"every" doc:"milliseconds that agg is of; whole minutes from a minute on"`
	Points uint64   `json:"points" doc:"so many points of each key as look like all on a chart; 3 to 2,000"`
	Limit  uint64   `json:"limit" doc:"points of all keys; absent: 1,000; at most 10,000"`
}

type teleOutput struct {
	DID    accounts.Name `json:"did"`
	From   int64         `json:"from" doc:"what it was rounded to: a minute or an hour, if agg is of such"`
	Series []teleSeries  `json:"series" doc:"one of each key"`
	Next   int64         `json:"next,omitempty" doc:"the from that goes on; absent: that is all"`
}

type teleSeries struct {
	Key    string      `json:"key" doc:"what is measured"`
	Points []telePoint `json:"points" doc:"in the order of time"`
}

type telePoint struct {
	TS    int64           `json:"ts"`
	Value json.RawMessage `json:"v" doc:"a number, a text, true, false, or JSON"`
	Moved bool            `json:"moved,omitempty" doc:"the device has said another time, which was still to come"`
}

type lastOutput struct {
	DID    accounts.Name        `json:"did"`
	Values map[string]telePoint `json:"values" doc:"the last one of each key"`
}

// teleDesk answers what devices have measured to those who see them.
type teleDesk struct {
	things    *devices.Things
	devices   *devices.Service
	telemeter *devices.Telemeter
}

func teleRows(r Rooms) []*Operation {
	if r.Things == nil || r.Telemetry == nil {
		return nil
	}
	d := teleDesk{r.Things, r.Devices, r.Telemetry}
	return []*Operation{
		read("device.tele", User, "Gives what a device has measured: points, aggregates, or a chart.", d.query),
		read("device.tele.last", User, "Gives the last value of each key that a device measures.", d.last),
	}
}

// seen reads the name of a device that the caller sees, and gives from which time on he does.
func (d teleDesk) seen(ctx context.Context, c Caller, value string) (name accounts.Name, since int64, err error) {
	if name, err = did(value); err != nil {
		return name, 0, err
	}
	t, err := d.devices.May(ctx, c.Account, name, devices.VerbSee)
	if err == nil {
		since, err = d.things.Since(ctx, c.Account, t)
	}
	return name, since, err
}

// shownSince is from which time on somebody is shown something who sees the device since a time: means of what was before may
// be in those of the hour.
func shownSince(in teleInput, since int64) int64 {
	const hour = 3_600_000
	if since > in.From && (in.Every > 0 || in.Points > 0) {
		since += hour - 1 - (since-1)%hour
	}
	return since
}

func (d teleDesk) query(ctx context.Context, c Caller, in teleInput) (teleOutput, error) {
	name, since, err := d.seen(ctx, c, in.DID)
	if err != nil {
		return teleOutput{}, err
	}
	since = shownSince(in, since)
	a, err := d.telemeter.Query(ctx, name, devices.TelemetryQuery{
		Keys: in.Keys, From: max(in.From, since), To: in.To, Agg: devices.Aggregate(in.Agg), Every: in.Every,
		Points: int(min(in.Points, devices.MaxChart+1)), Limit: int(min(in.Limit, devices.MaxAnswer)),
	})
	if err != nil {
		return teleOutput{}, err
	}
	out := teleOutput{DID: name, From: a.From, Next: a.Next, Series: make([]teleSeries, len(a.Series))}
	for i, s := range a.Series {
		out.Series[i] = teleSeries{Key: s.Key, Points: make([]telePoint, len(s.Points))}
		for j, p := range s.Points {
			out.Series[i].Points[j] = telePoint{p.TS, p.Value(), p.Moved}
		}
	}
	return out, nil
}

func (d teleDesk) last(ctx context.Context, c Caller, in didInput) (lastOutput, error) {
	name, _, err := d.seen(ctx, c, in.DID)
	if err != nil {
		return lastOutput{}, err
	}
	last, err := d.telemeter.Last(ctx, name)
	out := lastOutput{DID: name, Values: make(map[string]telePoint, len(last))}
	for _, p := range last {
		out.Values[p.Key] = telePoint{p.TS, p.Value(), p.Moved}
	}
	return out, err
}
