package broker

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
)

// Config is everything that can be set about a node. [Default] runs on a laptop with no file at all. The comments here are
// the reference that people read: deploy/magpie.toml is generated from them, and the toml names are the keys of the file
// and, in capitals behind MAGPIE_, of the environment (MAGPIE_LIMITS_PUBLISH_RATE).
type Config struct {
	// Directory of the store, of addresses.json and of the admin socket; created when it is not there, and used by one
	// process at a time. A relative path starts at the working directory.
	Data string `toml:"data"`
	// Address for MQTT over TCP. Only this machine by default, because what is said here is not encrypted. Port 0: any
	// free one, to be read in addresses.json; empty: no such listener.
	MQTT string `toml:"mqtt"`
	// Address for HTTP: the API under /api/v1, MQTT over WebSocket at /mqtt, /healthz, /readyz and /metrics. Empty: no
	// such listener.
	HTTP string `toml:"http"`

	TLS      TLSConfig      `toml:"tls"`
	Web      WebConfig      `toml:"web"`
	Accounts AccountsConfig `toml:"accounts"`
	Sessions SessionsConfig `toml:"sessions"`
	Presence PresenceConfig `toml:"presence"`
	People   PeopleConfig   `toml:"people"`
	Chat     ChatConfig     `toml:"chat"`
	Devices  DevicesConfig  `toml:"devices"`

	Automations AutomationsConfig `toml:"automations"`
	Limits      LimitsConfig      `toml:"limits"`
	Store       StoreConfig       `toml:"store"`
	Metrics     MetricsConfig     `toml:"metrics"`
	Log         LogConfig         `toml:"log"`

	ACL    []ACLConfig   `toml:"acl"`
	Mounts []MountConfig `toml:"mount"`
}

// TLSConfig is about encrypted listeners. They are beside those of the first lines, not instead of them.
type TLSConfig struct {
	// File with the certificate chain, PEM. It and the key are read again when they have changed.
	Cert string `toml:"cert"`
	// File with its private key, PEM.
	Key string `toml:"key"`
	// Address for MQTT over TLS, ":8883" by custom. Empty: no such listener.
	MQTT string `toml:"mqtt"`
	// Address for HTTPS and MQTT over secure WebSocket, ":8443" for example. Empty: no such listener.
	HTTPS string `toml:"https"`
	// Whether devices log in with certificates over tls.mqtt: "off"; "optional": those that show one and no password do;
	// "required": all do, and nobody else comes in there, people neither.
	ClientAuth string `toml:"client_auth"`
	// File with the certificates of those who sign certificates of devices, PEM, "magpie ca" for one; read again when it has
	// changed. Empty: only certificates that are pinned to a device count.
	ClientCA string `toml:"client_ca"`
	// File with the lists of certificates that they have revoked (CRL), PEM; read again when it has changed, and then devices
	// with such a certificate are disconnected. Empty: none is.
	ClientRevoked string `toml:"client_revoked"`
}

// WebConfig is about browsers.
type WebConfig struct {
	// Origins whose pages may call the API and connect over WebSocket, beside the server's own: "https://chat.example.org",
	// or "*" for every page there is. Clients that are no browser send no Origin and are not asked.
	Origins []string `toml:"origins"`
}

// AccountsConfig is about who may have an account, and for how long a login is good.
type AccountsConfig struct {
	// Who may register over HTTP: "closed" (nobody, accounts are made with magpie user add), "invite" (who has a code of
	// magpie invite) or "open" (everybody).
	Registration string `toml:"registration"`
	// How long a token is good after the login that gave it.
	TokenLife Duration `toml:"token_life"`
	// How long it is known what administrators did (magpie audit). 0: for ever; otherwise at least 1h.
	AuditLife Duration `toml:"audit_life"`
	// What becomes of the messages of a deleted account: "keep" leaves them with those whom they were sent to, "wipe" takes
	// their content away.
	DeletedMessages string `toml:"deleted_messages"`
	// Shortest new password, in bytes; 1 to 64.
	PasswordLength int `toml:"password_length"`
	// Memory of one password hash (argon2id, with hash_passes passes over it); 8KiB to 256MiB. The defaults are OWASP's
	// least and cost about 20 ms of one core. Older passwords are hashed anew when they are next used.
	HashMemory Bytes `toml:"hash_memory"`
	// Passes over that memory; 1 to 64.
	HashPasses int `toml:"hash_passes"`
}

// SessionsConfig is about what the server remembers of a client between its connections.
type SessionsConfig struct {
	// How long a persistent session is kept after its last connection. MQTT 5 clients may ask for less; for 3.1.1 clients
	// with CleanSession 0 it is this. 0: as long as the client says, for 3.1.1 for ever.
	Expiry Duration `toml:"expiry"`
	// Messages of QoS 1 and 2 on free topics that may wait on the disk for one persistent session. 0: any number.
	QueueCount int `toml:"queue_count"`
	// Bytes of these: topics, payloads and properties. 0: any number; otherwise not less than limits.packet_size.
	QueueBytes Bytes `toml:"queue_bytes"`
	// How long one of them waits before it is dropped; also the expiry of messages of which the publisher said none. 0: for
	// ever.
	QueueAge Duration `toml:"queue_age"`
	// What becomes of a message for which a queue has no room: "drop" takes the oldest out for it, and counts them;
	// "refuse" lets nobody have it, and tells the publisher (0x97), who so depends on the slowest subscriber.
	QueueFull string `toml:"queue_full"`
	// Messages that may wait in memory for one client whose session ends with its connection; with more it is
	// disconnected (0x97). 1 or more.
	VolatileCount int `toml:"volatile_count"`
	// Bytes of these; not less than limits.packet_size.
	VolatileBytes Bytes `toml:"volatile_bytes"`
}

// ChatConfig is about conversations.
type ChatConfig struct {
	// Up to how many members the messages of a room are stored in the stream of each of them. Members of larger ones get them
	// while they are connected, and read the rest in the history.
	LargeFrom int `toml:"large_from"`
	// Up to how many members of a room senders are told how many have received and read their messages, and by name who has.
	// At most 2000. 0: in no room.
	ReceiptsTo int `toml:"receipts_to"`
	// Up to how many members of a room the others hear who types. At most 2000. 0: in no room.
	TypingTo int `toml:"typing_to"`
	// Messages that a live room keeps, for those who come late. 1 to 1000.
	LiveRing int `toml:"live_ring"`
	// How long the operations of a board are kept behind a snapshot that contains them.
	BoardKeep Duration `toml:"board_keep"`
	// For how many days messages are kept. 0: for ever. Otherwise 7 to 36500. A room may say so for itself.
	KeepMessages int `toml:"keep_messages"`
	// For how many days the entries of streams are kept: a client that was away for longer starts over. 0: for ever.
	KeepStreams int `toml:"keep_streams"`
	// How long after it was sent its sender may edit a message. "0s": always.
	EditFor Duration `toml:"edit_for"`
	// How long after it was sent its sender may recall a message; a room's admins always may. "0s": always.
	RecallFor Duration `toml:"recall_for"`
}

// AutomationsConfig is about what homes do by themselves.
type AutomationsConfig struct {
	// How many automations, and how many scenes, a home may have. 1 to 10000.
	PerHome int `toml:"per_home"`
	// How often an automation may be set off in a minute: one that is more often is disabled, and its home told. 1 to 10000.
	PerMinute int `toml:"per_minute"`
	// How long a chain of automations may be of which each sets off the next one: whichever would make it longer is disabled,
	// and its home told. 1 to 100.
	Depth int `toml:"depth"`
	// How long a run, or the state that sets one off, may wait. 1m to 366 days.
	LongestDelay Duration `toml:"longest_delay"`
}

// DevicesConfig is about devices: what they are, and what they are told to do.
type DevicesConfig struct {
	// How large a shadow may be, desired and reported state together, as JSON. 1KiB to 1MiB. AWS IoT has 8KiB.
	ShadowSize Bytes `toml:"shadow_size"`
	// How deep either state may be nested. 1 to 64.
	ShadowDepth int `toml:"shadow_depth"`
	// Named shadows of a device. 0 to 1000.
	Shadows int `toml:"shadows"`
	// Commands that may wait for a device or be on their way to it. 1 to 10000.
	OpenCommands int `toml:"open_commands"`
	// How long a command waits for its device that does not say so itself: nobody wants a door to open an hour later.
	CommandTTL Duration `toml:"command_ttl"`
	// How long a device may take from the delivery of a command to its result, if the command does not say so.
	CommandTimeout Duration `toml:"command_timeout"`
	// The most that a command may say of either; 1m to 366 days.
	LongestTTL Duration `toml:"longest_ttl"`
	// For how many days commands are kept; for as long is a resend known by its mid. At least 7.
	KeepCommands int `toml:"keep_commands"`
	// For how many days events are kept. At least 1.
	KeepEvents int `toml:"keep_events"`
	// For how many days what devices measure is kept as it was measured. 1 to 3650.
	KeepPoints int `toml:"keep_points"`
	// For how many days averages of minutes are kept; those of hours are for ever. keep_points to 36500.
	KeepMinutes int `toml:"keep_minutes"`
	// For how many days a job is kept that is over for all its devices. At least 1.
	KeepJobs int `toml:"keep_jobs"`
	// Largest file that is stored for jobs, below the data directory. 0: none is; at most 1GiB.
	FileSize Bytes `toml:"file_size"`
	// Bytes of all files of an account. Files that no job needs go after 7 days.
	FilesPerAccount Bytes `toml:"files_per_account"`
	// Where devices reach the server over HTTP for files, and people who follow a link: "https://iot.example.org". Empty: where
	// it listens.
	FilesURL string `toml:"files_url"`
	// Public key (Ed25519, base64) that has signed every file of every job. Empty: the maker of a job may name one of his own.
	FileKey PublicKey `toml:"file_key"`
	// Certificate of an authority ("magpie ca init") that signs certificates of devices which provision themselves, PEM. Empty:
	// they are given none.
	CACert string `toml:"ca_cert"`
	// Its key, PEM.
	CAKey string `toml:"ca_key"`
	// For how many days these certificates are good. 1 to 36500.
	CertDays int `toml:"cert_days"`
	// For how many days it is kept where phones and things were. 1 to 3650.
	KeepTracks int `toml:"keep_tracks"`
	// How long a device is shown as online after its last connection has ended. 0s to 1h.
	Grace Duration `toml:"grace"`
	// For how long after a start of the server it is unknown if a device is there that was before, and has not come back; then
	// it is offline. 0s to 1h.
	Return Duration `toml:"return"`
}

// PresenceConfig is about who is there and who types.
type PresenceConfig struct {
	// How long somebody is shown as there after his last connection has ended: a reconnect within that shows nothing. At most
	// 1h. 0: not at all.
	Grace Duration `toml:"grace"`
	// How long somebody is shown as typing who does not say so again; 1s to 1m.
	Typing Duration `toml:"typing"`
}

// PeopleConfig is about what people say of themselves, and finding each other by it.
type PeopleConfig struct {
	// A search for one name, number or address is answered after this time and up to as much later by chance, so that
	// nobody learns from the time who exists and does not want to be found; at most 1s. 0: at once, which tells some
	// microseconds.
	SearchTime Duration `toml:"search_time"`
	// How long nobody gets the phone number or e-mail address of an account that was deleted. 0: it is free at once.
	HandleQuarantine Duration `toml:"handle_quarantine"`
}

// LimitsConfig bounds what one client, one account or one address may cost. 0 switches a limit off, unless its comment
// says otherwise.
type LimitsConfig struct {
	// Largest MQTT packet a client may send, whole; 1KiB to 256MiB, cannot be switched off: a packet's memory is taken
	// before its content arrives.
	PacketSize Bytes `toml:"packet_size"`
	// Largest body of a message, as JSON. It has to fit into packet_size.
	BodySize Bytes `toml:"body_size"`
	// Longest text of a message, in characters.
	TextSize int `toml:"text_size"`
	// People that one may ask for contact, or write to as a stranger, in a day.
	ContactRequests int `toml:"contact_requests"`
	// Contacts that one may have.
	Contacts int `toml:"contacts"`
	// Longest topic or topic filter, in bytes; 128 to 65535, cannot be switched off.
	TopicSize int `toml:"topic_size"`
	// Publishes a second that one connection may go on sending. Over it the connection is read more slowly; nothing is
	// refused or lost.
	PublishRate int `toml:"publish_rate"`
	// Publishes that may come at once before publish_rate counts.
	PublishBurst int `toml:"publish_burst"`
	// Messages of QoS 1 and 2 on their way to one client and not yet acknowledged; 1 to 1024. A client's Receive Maximum
	// can make it smaller.
	Window int `toml:"window"`
	// Messages of QoS 1 and 2 from one client that wait for the disk; 1 to 65535. MQTT 5 clients are told (Receive
	// Maximum), others are read more slowly.
	Inbound int `toml:"inbound"`
	// Sessions that one account may have, connected or not.
	SessionsPerAccount int `toml:"sessions_per_account"`
	// Topic filters that one session may be subscribed to.
	Subscriptions int `toml:"subscriptions"`
	// Connections at a time, on all listeners together. One costs about 30 KiB and a file descriptor.
	Connections int `toml:"connections"`
	// Connections at a time from one address (IPv6: one /64). Thousands may share one behind a carrier's NAT or a proxy.
	ConnectionsPerAddress int `toml:"connections_per_address"`
	// Connections at a time that have not logged in yet; more are closed at once.
	Handshakes int `toml:"handshakes"`
	// The same for one address, so that a stranger cannot take all of them.
	HandshakesPerAddress int `toml:"handshakes_per_address"`
	// Time from accepting a connection to its complete CONNECT; at least 100ms, cannot be switched off.
	ConnectTimeout Duration `toml:"connect_timeout"`
	// Time in which a client that is sent something has to take some of it; at least 100ms, cannot be switched off.
	WriteTimeout Duration `toml:"write_timeout"`
	// Bytes that may wait for one slow client before its connection is closed; at least 64KiB, and not less than
	// packet_size. Nothing durable is lost by it: it waits in the store. Cannot be switched off.
	WriteBuffer Bytes `toml:"write_buffer"`
	// Failed logins a minute from one address (IPv6: one /64). More are refused without looking at the password.
	LoginFailures int `toml:"login_failures"`
	// Failed logins an hour to one account, from addresses that never logged in to it, before such addresses are made to
	// wait; nobody is locked out.
	AccountFailures int `toml:"account_failures"`
	// Registrations an hour from one address.
	Registrations int `toml:"registrations"`
	// Tokens that one account may have; the oldest one is revoked for a new one. 1 to 10000, cannot be switched off.
	TokensPerAccount int `toml:"tokens_per_account"`
	// Publishes a second that all connections of one account together may go on sending; over it they are read more
	// slowly. It counts beside publish_rate, which is for one connection.
	AccountPublishRate int `toml:"account_publish_rate"`
	// Publishes that may come at once before account_publish_rate counts.
	AccountPublishBurst int `toml:"account_publish_burst"`
	// Connections at a time of one account; more are refused (0x97). sessions_per_account bounds them as well.
	AccountConnections int `toml:"account_connections"`
	// Connections at a time that came through one listener: mqtt, tls.mqtt, and WebSocket is a third. More are closed at
	// once, over WebSocket with HTTP 503.
	ConnectionsPerListener int `toml:"connections_per_listener"`
	// New connections a second through one listener; as many may come at once. Over it they wait in the kernel until they
	// are accepted; over WebSocket they are refused with HTTP 503.
	ConnectRate int `toml:"connect_rate"`
	// Retained messages, one for each topic that has one; a publish that would make one more is refused (0x97).
	Retained int `toml:"retained"`
	// Messages published to $delayed/... that wait for their time; more are refused (0x97).
	Delayed int `toml:"delayed"`
	// Searches for people that one account may make in a minute; more are refused (0x97).
	Searches int `toml:"searches"`
	// Changes of a profile that one account may make in an hour; more are refused (0x97). Each goes to all contacts.
	ProfileChanges int `toml:"profile_changes"`
	// Phone numbers and e-mail addresses that one account may take in a day, or be refused because another one has them;
	// more are refused (0x97).
	HandleChanges int `toml:"handle_changes"`
	// Members of a group, a channel or another room.
	RoomMembers int `toml:"room_members"`
	// Rooms that one account may be in.
	Rooms int `toml:"rooms"`
	// Rooms that one account may make in a day.
	NewRooms int `toml:"new_rooms"`
	// How often in a day one account may invite somebody to a room who is no contact, or ask to be let into one.
	Invitations int `toml:"invitations"`
	// How often in a day one account may join a room to which nobody has invited it: an open one, or by link.
	Joins int `toml:"joins"`
	// Memory that the process may have before new connections and subscriptions are refused and messages of QoS 0 are
	// dropped; what is there goes on. A size, or a part of what the machine or its container has: "75%". Where that cannot
	// be told, a part is no limit.
	Memory Ceiling `toml:"memory"`
}

// StoreConfig is about where everything is kept: in the data directory, or in a MongoDB database. A line store = "mongodb://..."
// among the first ones is the same as uri here, for a file that sets nothing else of this section.
type StoreConfig struct {
	// Address of a MongoDB database, as MongoDB's own programs have it: "mongodb://magpie@db1,db2,db3/magpie?replicaSet=rs0".
	// User, TLS and the size of the pool of connections are in it; docs/operations.md says more. "file:/path" takes the first
	// line of that file. Empty: everything is in the data directory.
	URI URI `toml:"uri"`
	// Password of the user in uri, where it is not in it. "file:/path" takes the first line of that file.
	Password Secret `toml:"password"`
	// How long a start waits for the database.
	StartTimeout Duration `toml:"start_timeout"`
	// How long one operation of the database may take. Who has asked for it is told then that the store is unavailable, and
	// comes back later. At least 1s.
	Timeout Duration `toml:"timeout"`
	// For how long a node keeps the database that does not say anything: after a crash another one waits for so long, and a node
	// whose database is as slow as that accepts nothing. At least 1s.
	Lease Duration `toml:"lease"`
	// Memory for blocks read from the disk; at least 1MiB. Without uri only.
	Cache Bytes `toml:"cache"`
	// With less than this free on the disk, nothing new is accepted until there is more again: clients are disconnected
	// without an ack and come back. What is stored can still be read. Without uri only.
	MinFree Bytes `toml:"min_free"`
}

// MetricsConfig is about /metrics and the topics below $SYS.
type MetricsConfig struct {
	// Who wants to read /metrics has to send this as a bearer token. "file:/path" takes the first line of that file.
	// Empty: everybody who reaches the HTTP address may.
	Token Secret `toml:"token"`
	// How often what has changed below $SYS is published; at least 1s, or 0 for never. Nobody may subscribe to it unless
	// an [[acl]] says so.
	SysInterval Duration `toml:"sys_interval"`
}

// LogConfig is about the log, which goes to standard error.
type LogConfig struct {
	// "debug", "info", "warn" or "error".
	Level string `toml:"level"`
	// "text" or "json".
	Format string `toml:"format"`
}

// ACLConfig grants free topics: those that mean nothing to the server but MQTT. Nothing is granted but by such entries, one
// after the other; topics under im/ and dev/ have rules of their own and never are.
type ACLConfig struct {
	// An MQTT topic filter. A level %u stands for the name of the account; so does a level "me", which the client may
	// also write so. "#" is everything but topics that begin with $; of these, $SYS/# may be granted, for "sub" only, and to
	// one account by its name those of one home, as $home/h.4zx/#, for "sub" only.
	Topic string `toml:"topic"`
	// Whom it is granted to: "users", "devices", "all", or the name of an account.
	Who string `toml:"who"`
	// "pub" to publish there, "sub" to subscribe to every filter that lies within topic.
	Allow []string `toml:"allow"`
}

// MountConfig puts the topics of one account into a place of their own: what it calls x is at/x for everybody else, who need
// an [[acl]] for it. There it may publish and subscribe as it likes; of other free topics only $SYS is in its reach.
type MountConfig struct {
	// Name of the account.
	Who string `toml:"who"`
	// The place, a topic without wildcards.
	At string `toml:"at"`
}

// Default is the configuration of a node of which nothing was said.
func Default() Config {
	return Config{
		Data: "data",
		MQTT: "127.0.0.1:1883",
		HTTP: "127.0.0.1:8080",
		Web:  WebConfig{Origins: []string{}},
		Accounts: AccountsConfig{
			Registration:    "closed",
			TokenLife:       90 * day,
			AuditLife:       400 * day,
			DeletedMessages: "keep",
			PasswordLength:  8,
			HashMemory:      19 * mebibyte,
			HashPasses:      2,
		},
		Sessions: SessionsConfig{
			Expiry:        30 * day,
			QueueCount:    100_000,
			QueueBytes:    256 * mebibyte,
			QueueAge:      7 * day,
			QueueFull:     "drop",
			VolatileCount: 10_000,
			VolatileBytes: 8 * mebibyte,
		},
		Chat: ChatConfig{
			LargeFrom: 2000, ReceiptsTo: 200, TypingTo: 200, LiveRing: 200, BoardKeep: 3600 * second, EditFor: 86400 * second,
			RecallFor: 120 * second, KeepStreams: 30,
		},
		Devices: DevicesConfig{
			ShadowSize: 32 * kibibyte, ShadowDepth: 6, Shadows: 10, OpenCommands: 100, CommandTTL: 30 * second,
			CommandTimeout: 60 * second, LongestTTL: 30 * day, KeepCommands: 30, KeepEvents: 30, KeepPoints: 30, KeepMinutes: 366,
			KeepJobs: 30, FileSize: 64 * mebibyte, FilesPerAccount: 512 * mebibyte, CertDays: 3650, KeepTracks: 30,
			Grace: 3 * second, Return: 120 * second,
		},
		Automations: AutomationsConfig{PerHome: 200, PerMinute: 60, Depth: 8, LongestDelay: 30 * day},

		Presence: PresenceConfig{Grace: 5 * second, Typing: 6 * second},
		People:   PeopleConfig{SearchTime: second / 200, HandleQuarantine: 30 * day},
		Limits: LimitsConfig{
			PacketSize:           1 * mebibyte,
			BodySize:             64 * kibibyte,
			TextSize:             10_000,
			ContactRequests:      20,
			Contacts:             5000,
			TopicSize:            1024,
			PublishRate:          100,
			PublishBurst:         1000,
			Window:               64,
			Inbound:              1024,
			SessionsPerAccount:   1000,
			Subscriptions:        10_000,
			Connections:          100_000,
			Handshakes:           10_000,
			HandshakesPerAddress: 1000,
			ConnectTimeout:       10 * second,
			WriteTimeout:         20 * second,
			WriteBuffer:          4 * mebibyte,
			LoginFailures:        10,
			AccountFailures:      20,
			Registrations:        20,
			TokensPerAccount:     100,
			AccountPublishBurst:  1000,
			Retained:             1_000_000,
			Searches:             100,
			ProfileChanges:       60,
			HandleChanges:        10,
			RoomMembers:          100_000,
			Rooms:                500,
			NewRooms:             100,
			Invitations:          100,
			Joins:                100,
			Delayed:              100_000,
			Memory:               Ceiling{Percent: 75},
		},
		Store: StoreConfig{
			StartTimeout: 10 * second, Timeout: 10 * second, Lease: 15 * second, Cache: 64 * mebibyte, MinFree: 128 * mebibyte,
		},
		TLS:     TLSConfig{ClientAuth: clientAuthOff},
		Metrics: MetricsConfig{SysInterval: 10 * second},
		Log:     LogConfig{Level: "info", Format: "text"},
	}
}

// Validate names every key whose value cannot be used, with what it may be.
func (c Config) Validate() error {
	var v violations
	v.check(c.Data != "", "data", "is empty")
	v.address("mqtt", c.MQTT)
	v.address("http", c.HTTP)
	c.TLS.validate(&v)
	for _, origin := range c.Web.Origins {
		v.check(validOrigin(origin), "web.origins", "%q is not like https://chat.example.org", origin)
	}
	v.oneOf("accounts.registration", c.Accounts.Registration, "closed", "invite", "open")
	v.oneOf("accounts.deleted_messages", c.Accounts.DeletedMessages, "keep", "wipe")
	atLeast(&v, "accounts.token_life", c.Accounts.TokenLife, 60*second)
	v.check(c.Accounts.AuditLife == 0 || c.Accounts.AuditLife >= 3600*second, "accounts.audit_life",
		"%s is less than 1h", c.Accounts.AuditLife)
	v.between("accounts.password_length", c.Accounts.PasswordLength, 1, 64)
	v.check(8*kibibyte <= c.Accounts.HashMemory && c.Accounts.HashMemory <= 256*mebibyte, "accounts.hash_memory",
		"%s is not between 8KiB and 256MiB", c.Accounts.HashMemory)
	v.between("accounts.hash_passes", c.Accounts.HashPasses, 1, 64)
	c.Sessions.validate(&v, c.Limits.PacketSize)
	c.Chat.validate(&v)
	v.check(c.Presence.Grace >= 0 && c.Presence.Grace <= 3600*second, "presence.grace",
		"%s is not between 0s and 1h", c.Presence.Grace)
	v.check(c.Presence.Typing >= second && c.Presence.Typing <= 60*second, "presence.typing",
		"%s is not between 1s and 1m", c.Presence.Typing)
	v.check(c.People.SearchTime >= 0 && c.People.SearchTime <= second, "people.search_time",
		"%s is not between 0s and 1s", c.People.SearchTime)
	v.check(c.People.HandleQuarantine >= 0 && c.People.HandleQuarantine <= 3660*day, "people.handle_quarantine",
		"%s is not between 0s and 10 years", c.People.HandleQuarantine)
	c.Limits.validate(&v)
	c.Devices.validate(&v)
	c.Automations.validate(&v)
	c.Store.validate(&v)
	v.atLeastSecond("metrics.sys_interval", c.Metrics.SysInterval)
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", c.Log.Format, "text", "json")
	for i, entry := range c.ACL {
		key := fmt.Sprintf("acl[%d].allow", i)
		v.check(len(entry.Allow) > 0, key, `is empty; "pub", "sub" or both`)
		for _, right := range entry.Allow {
			v.oneOf(key, right, "pub", "sub")
		}
	}
	if _, err := c.acl(); err != nil {
		v = append(v, err)
	}
	return errors.Join(v...)
}

func (c TLSConfig) validate(v *violations) {
	v.address("tls.mqtt", c.MQTT)
	v.address("tls.https", c.HTTPS)
	v.check((c.Cert == "") == (c.Key == ""), "tls", "cert and key belong together, and one is empty")
	v.check(c.Cert != "" || c.MQTT == "" && c.HTTPS == "", "tls", "an address without cert and key")
	v.oneOf("tls.client_auth", c.ClientAuth, clientAuthOff, clientAuthOptional, clientAuthRequired)
	v.check(c.ClientAuth == clientAuthOff || c.MQTT != "", "tls.client_auth", "there is no tls.mqtt")
	v.check(c.ClientRevoked == "" || c.ClientCA != "", "tls.client_revoked", "there is no tls.client_ca")
}

func (c SessionsConfig) validate(v *violations, packet Bytes) {
	v.atLeastSecond("sessions.expiry", c.Expiry)
	atLeast(v, "sessions.queue_count", c.QueueCount, 0)
	v.check(c.QueueBytes == 0 || c.QueueBytes >= packet, "sessions.queue_bytes",
		"%s is less than limits.packet_size, %s", c.QueueBytes, packet)
	v.atLeastSecond("sessions.queue_age", c.QueueAge)
	v.oneOf("sessions.queue_full", c.QueueFull, "drop", "refuse")
	atLeast(v, "sessions.volatile_count", c.VolatileCount, 1)
	v.check(c.VolatileBytes >= packet, "sessions.volatile_bytes",
		"%s is less than limits.packet_size, %s", c.VolatileBytes, packet)
}

func (c ChatConfig) validate(v *violations) {
	v.between("chat.large_from", c.LargeFrom, 1, 10_000)
	v.between("chat.receipts_to", c.ReceiptsTo, 0, 2000)
	v.between("chat.typing_to", c.TypingTo, 0, 2000)
	v.between("chat.live_ring", c.LiveRing, 1, 1000)
	v.check(c.EditFor >= 0 && c.EditFor <= 3660*day, "chat.edit_for",
		"%s is not between 0s and 3660 days", c.EditFor)
	v.check(c.RecallFor >= 0 && c.RecallFor <= 3660*day, "chat.recall_for",
		"%s is not between 0s and 3660 days", c.RecallFor)
	v.check(c.KeepMessages == 0 || c.KeepMessages >= 7 && c.KeepMessages <= 36500, "chat.keep_messages",
		"%d is neither 0 nor between 7 and 36500", c.KeepMessages)
	v.between("chat.keep_streams", c.KeepStreams, 0, 36500)
	v.check(c.BoardKeep >= second, "chat.board_keep", "%s is less than 1s", c.BoardKeep)
}

func (c DevicesConfig) validate(v *violations) {
	v.check(kibibyte <= c.ShadowSize && c.ShadowSize <= mebibyte, "devices.shadow_size",
		"%s is not between 1KiB and 1MiB", c.ShadowSize)
	v.between("devices.shadow_depth", c.ShadowDepth, 1, 64)
	v.between("devices.shadows", c.Shadows, 0, 1000)
	v.between("devices.open_commands", c.OpenCommands, 1, 10_000)
	v.check(60*second <= c.LongestTTL && c.LongestTTL <= 366*day, "devices.longest_ttl",
		"%s is not between 1m and 366 days", c.LongestTTL)
	v.check(second <= c.CommandTTL && c.CommandTTL <= c.LongestTTL, "devices.command_ttl",
		"%s is not between 1s and longest_ttl, %s", c.CommandTTL, c.LongestTTL)
	v.check(second <= c.CommandTimeout && c.CommandTimeout <= c.LongestTTL, "devices.command_timeout",
		"%s is not between 1s and longest_ttl, %s", c.CommandTimeout, c.LongestTTL)
	v.between("devices.keep_commands", c.KeepCommands, 7, 36500)
	v.between("devices.keep_events", c.KeepEvents, 1, 36500)
	v.between("devices.keep_points", c.KeepPoints, 1, 3650)
	v.between("devices.keep_tracks", c.KeepTracks, 1, 3650)
	v.between("devices.keep_minutes", c.KeepMinutes, c.KeepPoints, 36500)
	v.check((c.CACert == "") == (c.CAKey == ""), "devices.ca_cert", "goes with devices.ca_key")
	v.between("devices.cert_days", c.CertDays, 1, 36500)
	v.between("devices.keep_jobs", c.KeepJobs, 1, 36500)
	v.check(c.FileSize >= 0 && c.FileSize <= 1024*mebibyte, "devices.file_size", "%s is not between 0 and 1GiB", c.FileSize)
	atLeast(v, "devices.files_per_account", c.FilesPerAccount, c.FileSize)
	v.check(c.FilesURL == "" || c.FilesURL != "*" && validOrigin(c.FilesURL), "devices.files_url",
		"%q is not like https://iot.example.org", c.FilesURL)
	v.check(c.Grace >= 0 && c.Grace <= 3600*second, "devices.grace", "%s is not between 0s and 1h", c.Grace)
	v.check(c.Return >= 0 && c.Return <= 3600*second, "devices.return", "%s is not between 0s and 1h", c.Return)
}

func (c AutomationsConfig) validate(v *violations) {
	v.between("automations.per_home", c.PerHome, 1, 10_000)
	v.between("automations.per_minute", c.PerMinute, 1, 10_000)
	v.between("automations.depth", c.Depth, 1, 100)
	v.check(60*second <= c.LongestDelay && c.LongestDelay <= 366*day, "automations.longest_delay",
		"%s is not between 1m and 366 days", c.LongestDelay)
}

func (c StoreConfig) validate(v *violations) {
	v.check(c.URI.Valid(), "store.uri", "it begins neither with mongodb:// nor with mongodb+srv://")
	v.check(c.Password.Reveal() == "" || c.URI.Reveal() != "", "store.password", "without store.uri")
	atLeast(v, "store.start_timeout", c.StartTimeout, second/10)
	atLeast(v, "store.timeout", c.Timeout, second)
	atLeast(v, "store.lease", c.Lease, second)
	atLeast(v, "store.cache", c.Cache, mebibyte)
	atLeast(v, "store.min_free", c.MinFree, Bytes(0))
}

func (c LimitsConfig) validate(v *violations) {
	v.check(kibibyte <= c.PacketSize && c.PacketSize <= 256*mebibyte, "limits.packet_size",
		"%s is not between 1KiB and 256MiB", c.PacketSize)
	atLeast(v, "limits.body_size", c.BodySize, Bytes(0))
	v.check(c.BodySize <= c.PacketSize, "limits.body_size", "%s is more than packet_size, %s", c.BodySize, c.PacketSize)
	atLeast(v, "limits.text_size", c.TextSize, 0)
	atLeast(v, "limits.contact_requests", c.ContactRequests, 0)
	atLeast(v, "limits.contacts", c.Contacts, 0)
	v.between("limits.topic_size", c.TopicSize, 128, 65535)
	atLeast(v, "limits.publish_rate", c.PublishRate, 0)
	atLeast(v, "limits.publish_burst", c.PublishBurst, 0)
	v.check(c.PublishRate == 0 || c.PublishBurst > 0, "limits.publish_burst", "has to be 1 or more with publish_rate")
	v.between("limits.window", c.Window, 1, 1024)
	v.between("limits.inbound", c.Inbound, 1, 65535)
	atLeast(v, "limits.sessions_per_account", c.SessionsPerAccount, 0)
	atLeast(v, "limits.subscriptions", c.Subscriptions, 0)
	atLeast(v, "limits.connections", c.Connections, 0)
	atLeast(v, "limits.connections_per_address", c.ConnectionsPerAddress, 0)
	atLeast(v, "limits.handshakes", c.Handshakes, 0)
	atLeast(v, "limits.handshakes_per_address", c.HandshakesPerAddress, 0)
	atLeast(v, "limits.connect_timeout", c.ConnectTimeout, second/10)
	atLeast(v, "limits.write_timeout", c.WriteTimeout, second/10)
	atLeast(v, "limits.write_buffer", c.WriteBuffer, max(64*kibibyte, c.PacketSize))
	atLeast(v, "limits.login_failures", c.LoginFailures, 0)
	atLeast(v, "limits.account_failures", c.AccountFailures, 0)
	atLeast(v, "limits.registrations", c.Registrations, 0)
	v.between("limits.tokens_per_account", c.TokensPerAccount, 1, 10_000)
	atLeast(v, "limits.account_publish_rate", c.AccountPublishRate, 0)
	atLeast(v, "limits.account_publish_burst", c.AccountPublishBurst, 0)
	v.check(c.AccountPublishRate == 0 || c.AccountPublishBurst > 0, "limits.account_publish_burst",
		"has to be 1 or more with account_publish_rate")
	atLeast(v, "limits.account_connections", c.AccountConnections, 0)
	atLeast(v, "limits.connections_per_listener", c.ConnectionsPerListener, 0)
	atLeast(v, "limits.connect_rate", c.ConnectRate, 0)
	atLeast(v, "limits.retained", c.Retained, 0)
	atLeast(v, "limits.searches", c.Searches, 0)
	atLeast(v, "limits.profile_changes", c.ProfileChanges, 0)
	atLeast(v, "limits.handle_changes", c.HandleChanges, 0)
	atLeast(v, "limits.room_members", c.RoomMembers, 0)
	atLeast(v, "limits.rooms", c.Rooms, 0)
	atLeast(v, "limits.new_rooms", c.NewRooms, 0)
	atLeast(v, "limits.invitations", c.Invitations, 0)
	atLeast(v, "limits.joins", c.Joins, 0)
	atLeast(v, "limits.delayed", c.Delayed, 0)
	v.check(c.Memory.Size == 0 || c.Memory.Size >= 64*mebibyte, "limits.memory", "%s is less than 64MiB", c.Memory)
}

// violations are the errors of a configuration, each naming its key.
type violations []error

func (v *violations) check(ok bool, key, format string, args ...any) {
	if !ok {
		*v = append(*v, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
}

func (v *violations) address(key, addr string) {
	if addr == "" {
		return
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	v.check(err == nil, key, "%q is no address like 127.0.0.1:1883 or :1883", addr)
}

// atLeastSecond is for times that 0 switches off.
func (v *violations) atLeastSecond(key string, value Duration) {
	v.check(value == 0 || value >= second, key, "%s is less than a second", value)
}

func (v *violations) oneOf(key, value string, allowed ...string) {
	v.check(slices.Contains(allowed, value), key, "%q is none of %q", value, allowed)
}

func (v *violations) between(key string, value, least, most int) {
	v.check(least <= value && value <= most, key, "%d is not between %d and %d", value, least, most)
}

func atLeast[T cmp.Ordered](v *violations, key string, value, least T) {
	v.check(value >= least, key, "%v is less than %v", value, least)
}

// validOrigin follows RFC 6454, 6.1.
func validOrigin(origin string) bool {
	u, err := url.Parse(origin)
	return origin == "*" || err == nil && u.Scheme != "" && u.Host != "" && u.Scheme+"://"+u.Host == origin
}
