package broker

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/bridges"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/files"
	"github.com/magpie-im/magpie/hooks"
	"github.com/magpie-im/magpie/jobs"
	"github.com/magpie-im/magpie/locations"
	"github.com/magpie-im/magpie/spaces"
	"github.com/magpie-im/magpie/trips"
)

// FilesDir is the directory below the data directory with the files that were stored for devices.
const FilesDir = "files"

// CheckpointsDir is the directory below the data directory in which the store makes copies of itself.
const CheckpointsDir = "checkpoints"

// domain is what a node knows and does, whoever asks: the services of the rooms, and how they hear of each other.
type domain struct {
	accounts *accounts.Service
	sessions *sessions.Registry
	chat     *chat.Service

	things    *devices.Things
	devices   *devices.Service
	telemeter *devices.Telemeter
	claims    *devices.Claims
	factory   *devices.Factory
	receipts  *devices.Receipts
	bridges   *bridges.Service

	homes       *spaces.Homes
	voice       *spaces.Voice
	jobs        *jobs.Service
	shelf       *jobs.Shelf
	automations *automations.Service

	places *locations.Service
	phones *hooks.Places // how positions come in and go out over MQTT
	trips  *trips.Service
}

// newDomain makes the services: people, things, what joins them, and how they hear of each other.
func newDomain(cfg Config, store Store, log *slog.Logger) *domain {
	d := &domain{}
	d.people(cfg, store, log)
	d.fleet(cfg, store, log)
	d.home(cfg, store, log)
	d.outside(cfg, store, log)
	d.deliver(store, log)
	d.end()
	return d
}

// people makes accounts, their sessions, and what they say to each other.
func (d *domain) people(cfg Config, store Store, log *slog.Logger) {
	d.accounts = accounts.New(cfg.accounts(), store.Accounts(), log)
	streams := &hooks.Streams{}
	d.sessions = sessions.New(cfg.sessions(), store.Sessions(), streams, log)
	d.chat = chat.New(cfg.chat(), store.Chat(), d.accounts, d.sessions, log)
	streams.Bind(d.chat)
}

// fleet makes what devices are and do, and how they come to owners.
func (d *domain) fleet(cfg Config, store Store, log *slog.Logger) {
	d.things = devices.NewThings(store.Devices(), time.Now, log)
	d.things.SetAwake(d.accounts.Awake)
	d.devices = devices.New(cfg.devices(), store.Devices(), d.things, log)
	d.telemeter = devices.NewTelemeter(cfg.telemetry(), store.Telemetry(), time.Now, log)
	d.devices.SetTelemeter(d.telemeter)
	d.claims = devices.NewClaims(d.things, d.accounts, store.Records(), time.Now)
	d.factory = devices.NewFactory(d.things, d.devices, d.accounts, store.Records(), time.Now)
	d.receipts = devices.NewReceipts(store.Records(), time.Now, log)
}

// home makes what joins people with things: homes, what is said and done in them, jobs.
func (d *domain) home(cfg Config, store Store, log *slog.Logger) {
	d.homes = spaces.NewHomes(d.chat, d.things, store.Records(), time.Now, log)
	d.voice = spaces.NewVoice(d.homes, d.devices, store.Records(), time.Now, log)
	d.shelf = jobs.NewShelf(cfg.shelf(), store.Records(), files.In(filepath.Join(cfg.Data, FilesDir)), log)
	d.shelf.SetWritable(store.Writable)
	d.jobs = jobs.NewService(cfg.jobs(), store.Records(), d.things, d.homes, d.shelf, log)
	scribe := spaces.NewScribe(d.chat)
	d.automations = automations.New(
		cfg.automations(), store.Records(), d.devices, d.things, d.homes, scribe, time.Now, log)
	scribe.Listen(d.automations)
	d.voice.OnTold(d.automations.Told)
	d.homes.SetZones(d.automations)
}

// outside makes what is known of where people and things are, and their trips.
func (d *domain) outside(cfg Config, store Store, log *slog.Logger) {
	sights := spaces.NewSights(d.chat, d.things, d.homes, d.accounts, log)
	d.places = locations.New(cfg.locations(), store.Records(), sights, sights, time.Now, log)
	sights.Watch(d.places)
	d.places.SetAwake(d.accounts.Awake)
	d.accounts.SetStood(d.places.StandingChanged)
	spaces.Arrivals(d.places, d.automations)
	d.trips = trips.New(store.Records(), sights, d.places, hooks.NewTrips(d.sessions, d.chat), time.Now, log)
}

// deliver brings to sessions what things and places have to tell, to bridges in their own topics.
func (d *domain) deliver(store Store, log *slog.Logger) {
	things := hooks.NewThings(d.sessions, d.devices, d.things, d.jobs)
	d.phones = hooks.NewPlaces(d.sessions, d.places)
	live := hooks.NewLive(d.sessions, d.chat)
	live.SetThings(things)
	live.SetPlaces(d.phones)
	things.SetPlaces(d.phones)
	d.bridges = bridges.New(d.things, d.devices, d.accounts, store.Records(), hooks.NewMounts(d.sessions), things, log)
	d.devices.SetRouter(d.bridges)
	d.jobs.SetTeller(d.bridges)
	d.bridges.SetFirmware(d.jobs)
}

// end says who cleans up after a home, and after an account.
func (d *domain) end() {
	d.homes.OnEnd(func(ctx context.Context, home string) error {
		return errors.Join(d.automations.Ended(ctx, home), d.places.HomeEnded(ctx, home))
	}, d.automations.Homes)
	d.accounts.SetLeavers(d.sessions, d.chat, spaces.NewHeirs(d.homes, d.accounts), d.jobs, d.trips, d.places)
}

// table gives the operations that clients call.
func (d *domain) table() *api.Table {
	return api.New(api.Rooms{
		Accounts: d.accounts, Chat: d.chat, Sessions: d.sessions, Things: d.things, Devices: d.devices, Telemetry: d.telemeter,
		Claims: d.claims, Jobs: d.jobs, Automations: d.automations, Places: d.places, Trips: d.trips, Homes: d.homes,
	})
}

// load reads what has to be in memory before anybody comes, in this order.
func (d *domain) load(ctx context.Context) error {
	for _, load := range []func(context.Context) error{
		d.homes.Load, d.sessions.Load, d.chat.Load, d.devices.Load, d.receipts.Load, d.voice.Load, d.shelf.Load, d.jobs.Load,
		d.automations.Load, d.homes.LoadZones, d.bridges.Load, d.places.Load, d.trips.Load,
	} {
		if err := load(ctx); err != nil {
			return err
		}
	}
	return nil
}

// services gives what runs as long as the node does, by name; none ends before its context does.
func (d *domain) services() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"accounts": d.accounts.Run, "chat": d.chat.Run, "sessions": d.sessions.Run,
		"devices": d.devices.Run, "telemetry": d.telemeter.Run, "claims": d.claims.Run, "receipts": d.receipts.Run,
		"bridges": d.bridges.Run, "jobs": d.jobs.Run, "files": d.shelf.Run,
		"automations": d.automations.Run, "voice": d.voice.Run, "places": d.places.Run, "trips": d.trips.Run,
	}
}

func (d *domain) collectors() []prometheus.Collector {
	return slices.Concat(d.accounts.Collectors(), d.sessions.Collectors(), d.devices.Collectors(), d.telemeter.Collectors(),
		d.jobs.Collectors(), d.automations.Collectors(), d.places.Collectors())
}

// Accounts gives the accounts of this node.
func (d *domain) Accounts() *accounts.Service { return d.accounts }

// Chat gives the messenger of this node.
func (d *domain) Chat() *chat.Service { return d.chat }

// Things gives what devices there are at this node, and who may do what with them.
func (d *domain) Things() *devices.Things { return d.things }

// Devices gives the devices of this node at work.
func (d *domain) Devices() *devices.Service { return d.devices }

// Claims gives how devices of this node come to owners.
func (d *domain) Claims() *devices.Claims { return d.claims }

// Factory gives what makes devices of this node.
func (d *domain) Factory() *devices.Factory { return d.factory }

// Automations gives what the homes of this node do by themselves.
func (d *domain) Automations() *automations.Service { return d.automations }

// Telemeter gives what the devices of this node measure.
func (d *domain) Telemeter() *devices.Telemeter { return d.telemeter }

// Jobs gives what devices of this node are to do, many at once.
func (d *domain) Jobs() *jobs.Service { return d.jobs }

// Places gives where people and things are at this node.
func (d *domain) Places() *locations.Service { return d.places }

// Trips gives the trips of this node.
func (d *domain) Trips() *trips.Service { return d.trips }
