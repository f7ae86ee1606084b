package broker

import (
	"crypto/ed25519"
	"slices"
	"strings"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/api/rest"
	"github.com/magpie-im/magpie/automations"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/broker/transport"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
	"github.com/magpie-im/magpie/hooks"
	"github.com/magpie-im/magpie/jobs"
	"github.com/magpie-im/magpie/locations"
)

// What each room's own configuration is under this one. Fields that nobody sets keep the room's default.

func (c Config) accounts() accounts.Config {
	out := accounts.DefaultConfig()
	out.Registration = c.Accounts.Registration
	out.TokenLife = time.Duration(c.Accounts.TokenLife)
	out.AuditLife = time.Duration(c.Accounts.AuditLife)
	out.MinPassword = c.Accounts.PasswordLength
	out.HashMemory = uint32(c.Accounts.HashMemory / kibibyte)
	out.HashTime = uint32(c.Accounts.HashPasses)
	out.FailedPerMinute = c.Limits.LoginFailures
	out.FailedPerAccount = c.Limits.AccountFailures
	out.RegistrationsPerHour = c.Limits.Registrations
	out.MaxTokens = c.Limits.TokensPerAccount
	return out
}

func (c Config) sessions() sessions.Config {
	out := sessions.DefaultConfig()
	out.Window = c.Limits.Window
	out.Inbound = c.Limits.Inbound
	out.PerAccount = c.Limits.SessionsPerAccount
	out.Subscriptions = c.Limits.Subscriptions
	out.MaxExpiry = time.Duration(c.Sessions.Expiry)
	out.HighWater = min(out.HighWater, int(c.Limits.WriteBuffer)/4)
	out.Queue = sessions.Bounds{
		Count: c.Sessions.QueueCount, Bytes: int64(c.Sessions.QueueBytes), Age: time.Duration(c.Sessions.QueueAge),
		Refuse: c.Sessions.QueueFull == "refuse",
	}
	out.VolatileCount, out.VolatileBytes = c.Sessions.VolatileCount, int(c.Sessions.VolatileBytes)
	out.Retained, out.Delayed = c.Limits.Retained, c.Limits.Delayed
	return out
}

func (c Config) chat() chat.Config {
	out := chat.DefaultConfig()
	out.MaxBody = int(c.Limits.BodySize)
	out.MaxText = c.Limits.TextSize
	out.WipeDeleted = c.Accounts.DeletedMessages == "wipe"
	out.MaxRequests, out.MaxContacts = c.Limits.ContactRequests, c.Limits.Contacts
	out.Searches, out.ProfileChanges = c.Limits.Searches, c.Limits.ProfileChanges
	out.HandleChanges = c.Limits.HandleChanges
	out.LargeFrom, out.MaxMembers, out.MaxRooms = c.Chat.LargeFrom, c.Limits.RoomMembers, c.Limits.Rooms
	out.ReceiptsTo, out.TypingTo = c.Chat.ReceiptsTo, c.Chat.TypingTo
	out.LiveRing, out.BoardKeep = c.Chat.LiveRing, time.Duration(c.Chat.BoardKeep)
	out.KeepMessages = time.Duration(c.Chat.KeepMessages) * 24 * time.Hour
	out.KeepStreams = time.Duration(c.Chat.KeepStreams) * 24 * time.Hour
	out.EditFor, out.RecallFor = time.Duration(c.Chat.EditFor), time.Duration(c.Chat.RecallFor)
	out.NewRooms, out.Invitations, out.Joins = c.Limits.NewRooms, c.Limits.Invitations, c.Limits.Joins
	out.SearchTime, out.HandleQuarantine = time.Duration(c.People.SearchTime), time.Duration(c.People.HandleQuarantine)
	out.Grace, out.Typing = time.Duration(c.Presence.Grace), time.Duration(c.Presence.Typing)
	return out
}

func (c Config) devices() devices.Config {
	out := devices.DefaultConfig()
	out.ShadowSize, out.ShadowDepth, out.Shadows = int(c.Devices.ShadowSize), c.Devices.ShadowDepth, c.Devices.Shadows
	out.OpenCommands = c.Devices.OpenCommands
	out.TTL, out.Timeout = time.Duration(c.Devices.CommandTTL), time.Duration(c.Devices.CommandTimeout)
	out.LongestTTL = time.Duration(c.Devices.LongestTTL)
	out.KeepCommands = time.Duration(c.Devices.KeepCommands) * 24 * time.Hour
	out.KeepEvents = time.Duration(c.Devices.KeepEvents) * 24 * time.Hour
	out.Grace, out.Return = time.Duration(c.Devices.Grace), time.Duration(c.Devices.Return)
	return out
}

func (c Config) automations() automations.Config {
	return automations.Config{
		PerHome: c.Automations.PerHome, PerMinute: c.Automations.PerMinute, Depth: c.Automations.Depth,
		LongestDelay: time.Duration(c.Automations.LongestDelay),
	}
}

func (c Config) telemetry() devices.TelemetryConfig {
	out := devices.DefaultTelemetryConfig()
	out.Raw = time.Duration(c.Devices.KeepPoints) * 24 * time.Hour
	out.Minutes = time.Duration(c.Devices.KeepMinutes) * 24 * time.Hour
	return out
}

func (c Config) jobs() jobs.Config {
	out := jobs.DefaultConfig()
	out.Keep = time.Duration(c.Devices.KeepJobs) * 24 * time.Hour
	out.Key = ed25519.PublicKey(c.Devices.FileKey)
	return out
}

func (c Config) shelf() jobs.ShelfConfig {
	out := jobs.DefaultShelfConfig()
	out.File, out.PerOwner = int64(c.Devices.FileSize), int64(c.Devices.FilesPerAccount)
	out.URL = c.Devices.FilesURL
	return out
}

func (c Config) locations() locations.Config {
	out := locations.DefaultConfig()
	out.Keep = time.Duration(c.Devices.KeepTracks) * 24 * time.Hour
	return out
}

func (c Config) transport() transport.Config {
	out := transport.DefaultConfig()
	out.ConnectTimeout = time.Duration(c.Limits.ConnectTimeout)
	out.PacketSize = int(c.Limits.PacketSize)
	out.WriteBuffer = int(c.Limits.WriteBuffer)
	out.WriteTimeout = time.Duration(c.Limits.WriteTimeout)
	out.MaxConnections = c.Limits.Connections
	out.MaxPerListener = c.Limits.ConnectionsPerListener
	out.ConnectRate = c.Limits.ConnectRate
	out.MaxPerAddress = c.Limits.ConnectionsPerAddress
	out.MaxPending = c.Limits.Handshakes
	out.MaxPendingPerAddress = c.Limits.HandshakesPerAddress
	for _, origin := range c.Web.Origins {
		_, host, ok := strings.Cut(origin, "://")
		if !ok { // "*"
			host = origin
		}
		out.Origins = append(out.Origins, host)
	}
	return out
}

func (c Config) rest() rest.Config {
	out := rest.DefaultConfig()
	out.Origins = c.Web.Origins
	return out
}

func (c Config) acl() (*hooks.ACL, error) {
	var rules []hooks.Rule
	for _, entry := range c.ACL {
		rules = append(rules, hooks.Rule{
			Topic: entry.Topic, Who: entry.Who,
			Pub: slices.Contains(entry.Allow, "pub"), Sub: slices.Contains(entry.Allow, "sub"),
		})
	}
	var mounts []hooks.Mount
	for _, entry := range c.Mounts {
		mounts = append(mounts, hooks.Mount{Who: entry.Who, At: entry.At})
	}
	return hooks.NewACL(rules, mounts)
}

func (c Config) hooks() hooks.Config {
	out := hooks.DefaultConfig()
	out.PacketSize = uint32(c.Limits.PacketSize)
	out.TopicSize = 65535
	if c.Limits.TopicSize > 0 {
		out.TopicSize = c.Limits.TopicSize
	}
	out.PublishRate = float64(c.Limits.PublishRate)
	out.PublishBurst = c.Limits.PublishBurst
	out.ReceiveMaximum = uint16(c.Limits.Inbound)
	out.AccountConnections = c.Limits.AccountConnections
	out.AccountPublishRate = float64(c.Limits.AccountPublishRate)
	out.AccountPublishBurst = c.Limits.AccountPublishBurst
	return out
}
