package promises

// section is a part of the page.
type section struct {
	title string
	rows  []row
}

// table has all rows, in the order of the page. A row keeps its number.
func table() []section {
	return []section{
		{"2.0 Scenes, layers, properties", scenes()},
		{"2.1 Contacts", contacts()},
		{"2.2 What a chat window needs of a server", windows()},
		{"2.3 Sending", sending()},
		{"2.4 Receiving", receiving()},
		{"2.5 Storing", storing()},
		{"2.6 Unread counts", counting()},
		{"3 Devices and places", things()},
	}
}

const someday = "a later issue"

func scenes() []row {
	return []row{
		{id: "S4.1", question: "Is it a messenger like those that everybody knows?",
			promise: "Conversations of two and of many, contacts, receipts, many devices, push",
			shown:   []evidence{in("e2e/people", "TestPeopleAreToEachOtherWhatTheOracleSays"), in("e2e", "TestTheDemoWorksAsItIsPrinted")},
			lacks:   "push (" + someday + ")", waits: []string{"push.set"}},
		{id: "S4.2", question: "May a stranger write, as in a community?",
			promise: "As the receiver says: one message, which waits in a box and counts nowhere else; a second one is " +
				"refused until there is an answer",
			shown: []evidence{in("e2e/people", "TestRow_S4_2_Strangers", "TestRow_S4_2_StrangersWhoAreNotWanted",
				"TestRow_S4_2_ContactsOfContacts")}},
		{id: "S4.3", question: "Does it carry what the viewers of a live show say?",
			promise: "A room without members: no unread counts, the last 200 messages for who comes late, gifts before " +
				"likes, likes as an exact sum",
			test: rowS43},
		{id: "S4.4", question: "Does it switch and watch things at home?",
			promise: "A command runs once or, after its deadline, never, and its sender is told which",
			shown: []evidence{in("e2e/things", "TestALampAndItsAppWithClientsOfOthers", "TestCommandsInAnySchedule",
				"TestNothingIsGivenToADeviceAfterItsDeadline")}},
		{id: "S4.5", question: "Does it show where a driver is?",
			promise: "Positions of the members of a trip, the newest of each for who comes late, and nothing after its end",
			test:    rowS45},
		{id: "S4.6", question: "Does it carry a whiteboard?",
			promise: "Operations in one order, a snapshot and the rest for who comes late; all boards end equal",
			test:    rowS46},
		{id: "S5.1", question: "Which clients are there?",
			promise: "Any MQTT client is a whole participant, with a terminal for a window; a library and a web client " +
				"for the rest",
			shown: []evidence{in("e2e", "TestTheDemoWorksAsItIsPrinted"), in("cmd/magpie", "TestTheDemoDoesWhatItSays")},
			lacks: "a library with a store of its own, and the web client (" + someday + ")"},
		{id: "S5.2", question: "By which ways do they connect?",
			promise: "MQTT 3.1.1 and 5 over TCP, TLS and WebSocket, and HTTP, with the same guarantees",
			shown: []evidence{in("e2e", "TestEveryClientCarriesAnyPayloadUnchangedAndOnce"),
				in("e2e/people", "TestAPersonIsTheSameByEveryWay"),
				in("broker/transport", "TestTLSIsAtLeast12", "TestWebSocketCarriesAnyMixOfPacketsAndMessages")}},
		{id: "S5.3", question: "Is what the server does made of parts?",
			promise: "Each area of what it does is a part of its own behind one table of operations, and can be switched " +
				"off",
			shown: []evidence{in(".", "TestPackagesImportOnlyWhatTheTableAllows"), in("api", "TestEveryRowIsComplete")},
			lacks: "switching areas off (" + someday + ")"},
		{id: "S5.4", question: "Where are messages, accounts and relations kept?",
			promise: "In a store that needs no other program, or in MongoDB; both pass the same suite",
			shown: []evidence{in("store/pebble", "TestStoreOnDisk", "TestStoreAcrossPowerLoss"), in("store/mongo", "TestStore"),
				in("e2e/database", "TestNothingAcknowledgedIsLostWhenTheDatabaseIsInTrouble")}},
		{id: "S5.5", question: "Who wakes a phone that sleeps?",
			promise: "One push for each message and device that is not connected, with the total as its badge; none for " +
				"one that is",
			lacks: "push (" + someday + ")", waits: []string{"push.set"}},
		{id: "S5a.1", question: "How many connections does a node keep?",
			promise: "An idle one costs a bounded amount of memory; over the limit new ones are refused with a reason, " +
				"and those that are there do not notice",
			shown: []evidence{in("broker/transport", "TestLimits", "TestIdleConnectionsHoldNoBuffer", "TestAnnouncementsCostNoMemory"),
				in("hooks", "TestAccountLimitsHoldWhenAllComeAtOnce")}},
		{id: "S5a.2", question: "What if a client sends nonsense?",
			promise: "Its connection ends, or its message is refused, with a reason; nobody else notices",
			shown: []evidence{in("e2e", "FuzzBytesBeforeConnect", "FuzzBytesAfterConnect", "FuzzPublish"),
				in("hooks", "TestWhatMQTTForbidsEndsTheConnectionWithTheReason"),
				in("e2e", "TestWhatBecomesOfAPublishIsSaidAsTheProtocolSays")},
			lacks: "bodies in CBOR and protobuf (" + someday + ")"},
		{id: "S5a.3", question: "What of one's own sessions?",
			promise: "One connection each: a second one ends the first. They are listed and ended by their owner and by " +
				"an administrator, and nobody takes another's",
			shown: []evidence{in("e2e", "TestOfSixConnectsOfOneSessionOneIsLeft", "TestAClientIdIsNoKeyToSomebodyElsesSession"),
				in("hooks", "TestOnesOwnSessions", "TestAnAdministratorEndsWhatAnAccountHasOpened")}},
		{id: "S5a.4", question: "Does a message come by itself?",
			promise: "It is sent to every session of every member that is connected, whole, without being asked for",
			shown:   []evidence{in("e2e", "TestRealTextArrivesByteForByteOnEveryDevice"), our("S6.1")}},
		{id: "S6.1", question: "How soon?",
			promise: "When it is on the disk it is acknowledged and handed to those who are connected; nothing asks in " +
				"intervals",
			test: rowS61},
		{id: "S6.2", question: "Can it be lost, or doubled?",
			promise: "What was acknowledged is there, and one mid is one message, whenever the process is killed or power " +
				"is lost",
			shown: []evidence{in("e2e", "TestNothingAcknowledgedIsLostWhenTheProcessIsKilled",
				"TestTheJournalOfARealCrashIsSeenThroughWhenItIsDoctored", "TestFreeTopicsKeepTheirPromisesWhenPowerIsLost"),
				in("store/pebble", "TestStoreAcrossPowerLoss")}},
		{id: "S6.3", question: "Do all devices show the same?",
			promise: "All of them have the same messages of a conversation in the same order",
			shown:   []evidence{our("7.5-b5"), in("e2e", "TestNothingAcknowledgedIsLostWhenTheProcessIsKilled")}},
		{id: "S6.4", question: "Is it safe?",
			promise: "TLS, nothing allowed that was not granted, encryption of what is stored, envelopes that the server " +
				"cannot read, moderation",
			shown: []evidence{in("broker/transport", "TestTLSIsAtLeast12"),
				in("e2e", "TestNobodyCanSubscribeToWhatIsNotHis", "TestNobodyCanPublishWhatIsNotHis", "TestNobodyGetsInWithoutHisOwnSecret"),
				in("e2e/people", "TestEveryCellOfTheMatrix"), in("hooks", "TestNothingIsGrantedByDefault")},
			lacks: "encryption of what is stored, keys of envelopes, moderation (" + someday + ")", waits: []string{"report"}},
	}
}

func contacts() []row {
	return []row{
		{id: "7.1-1", question: "How is somebody found?",
			promise: "By exactly his name, number or address if he allows it; by a beginning, by chance or nearby if he " +
				"wants to be found; a hundred times a minute",
			shown: []evidence{in("e2e/people", "TestRow_7_1_1_Exact", "TestRow_7_1_1_AmongThoseWhoWantToBeFound",
				"TestRow_7_1_1_TwentyAtMostAndAHundredAMinute", "TestAHiddenAccountLooksLikeNoAccount")}},
		{id: "7.1-2", question: "Who is he?",
			promise: "A profile that shows strangers, contacts and those he has blocked different things; of a deleted " +
				"account that it is deleted",
			shown: []evidence{in("e2e/people", "TestRow_7_1_2_Profile", "TestRow_7_1_2_DeletedProfile")}},
		{id: "7.1-3", question: "How does one ask for contact?",
			promise: "There is one open request from one to another, however often it is made; two that cross are an " +
				"acceptance",
			shown: []evidence{in("e2e/people", "TestRow_7_1_3_Request")}},
		{id: "7.1-4", question: "What becomes of a request?",
			promise: "Accepted, both are contacts with one conversation, or neither is; refused, ignored and blocked, the " +
				"other learns no more than he is to",
			shown: []evidence{in("e2e/people", "TestRow_7_1_4_Accept", "TestRow_7_1_4_AcceptAfterWithdraw", "TestRow_7_1_4_Reject",
				"TestRow_7_1_4_SilentRejectionStaysSilent", "TestRow_7_1_4_Ignore", "TestRow_7_1_4_Block", "TestRow_7_1_4_Remove",
				"TestRow_7_1_4_ListOfChanges", "TestRow_7_1_4_EitherBothAreContactsOrNeitherWhenTheProcessIsKilled")}},
	}
}

func windows() []row {
	return []row{
		{id: "7.2-1", question: "What can be sent besides text?",
			promise: "Pictures, voice, video, files, places, cards, stickers by reference; calls with one winner among " +
				"the devices that ring",
			shown: []evidence{our("7.3-2")},
			lacks: "media and calls (" + someday + ")", waits: []string{"media.begin", "call.turn"}, test: row721},
		{id: "7.2-2", question: "And what a client does not know?",
			promise: "Is stored and passed on unchanged, with a text to show in its place, which the server makes if " +
				"there is none",
			shown: []evidence{our("7.2-1")}},
		{id: "7.2-3", question: "Does it stay quick when there is a lot?",
			promise: "The first page is bounded in bytes, whatever an account holds; a burst comes in batches to those " +
				"who ask",
			test: row723},
		{id: "7.2-4", question: "Is a message shown at once?",
			promise: "The event has all of it: one packet, and no question",
			test:    row724},
		{id: "7.2-5", question: "How is one's history read?",
			promise: "In pages that have every place once, whatever is sent meanwhile; where it begins, and what is gone, " +
				"is said",
			test: row725},
	}
}

func sending() []row {
	return []row{
		{id: "7.3-1", question: "How is a connection kept alive, and a dead one noticed?",
			promise: "Who is silent for one and a half times the keep-alive is cut off: the will comes once, not at all " +
				"if he is back before its delay has passed, and the session stays",
			test: row731},
		{id: "7.3-2", question: "And what is sent meanwhile?",
			promise: "The client keeps it and sends it again: wherever the connection was cut, it is there once",
			test:    row732},
		{id: "7.3-3", question: "Can a message be lost?",
			promise: "The ack comes when it is on the disk; what cannot be stored is not acknowledged",
			test:    row733,
			shown: []evidence{in("store/pebble", "TestStoreAcrossPowerLoss", "TestNoSpaceIsSaid"),
				in("broker/sessions", "TestCommitFailureDisconnectsWithoutAck"), in("hooks", "TestNothingIsDecidedWhenTheStoreIsAway")}},
		{id: "7.3-4", question: "Can it be there twice?",
			promise: "A mid of a sender in a conversation is one message for as long as that is there, seven days at " +
				"least: a repetition gets the first answer, another content is refused. Without a mid, QoS 2 is exact",
			test: row734, shown: []evidence{our("7.3-2")}},
		{id: "7.3-5", question: "Can the order change?",
			promise: "Every conversation has one order without gaps; each connection's messages are in the order in which " +
				"they were sent, and times do not go back though the clock does",
			test: row735},
		{id: "7.3-6", question: "Where is what is sent to who is away?",
			promise: "On the disk, once; it comes in order when he is back, however much it is and however long he was away",
			test:    row736, shown: []evidence{in("e2e", "TestTwentyThousandMessagesWaitForAnOfflineSession")},
			lacks: "a push meanwhile (" + someday + ")", waits: []string{"push.set"}},
		{id: "7.3-7", question: "Has it arrived, was it read?",
			promise: "Sent, delivered, read: each is told, none is taken back, and what was read was delivered",
			test:    row737},
	}
}

func receiving() []row {
	return []row{
		{id: "7.4-1", question: "What of a client in the background?",
			promise: "It gets messages; of presence the newest when it is in front again, and of typing nothing before that",
			test:    row741},
		{id: "7.4-2", question: "What if the connection is dead and nobody knows?",
			promise: "What was written to it comes again, from where the client had acknowledged; what comes twice is the " +
				"same",
			test: row742},
		{id: "7.4-3", question: "How does a client that was away catch up?",
			promise: "With all events in order, or a reset: in the end it shows what a client shows that was not away",
			test:    row743},
		{id: "7.4-4", question: "How does the sender know that it has arrived?",
			promise: "By the acknowledgement that any client sends for QoS 1 and 2; who takes QoS 0 says so himself",
			test:    row744},
		{id: "7.4-5", question: "What if something comes twice?",
			promise: "An event has its usn and a message its seq: what comes again has the same, and is the same",
			test:    row745},
		{id: "7.4-6", question: "What if something comes in another order?",
			promise: "usn has no gaps: who misses one calls sync, and has everything in order",
			test:    row746},
	}
}

func storing() []row {
	return []row{
		{id: "7.5-a1", question: "Is it kept while one is away?", promise: "Yes, by the stream: 7.3-6",
			shown: []evidence{our("7.3-6"), in("e2e", "TestTwentyThousandMessagesWaitForAnOfflineSession")}},
		{id: "7.5-a2", question: "Is it kept on the client?",
			promise: "A client that keeps its events can be killed at any moment: from its last whole one it knows what " +
				"is missing",
			test: row75a2, lacks: "the library with a store of its own (" + someday + "); what the server does for one is shown"},
		{id: "7.5-a3", question: "Is it kept for a new device?",
			promise: "A new device finds the history that the old ones have",
			test:    row75a3},
		{id: "7.5-b1", question: "For how long?",
			promise: "History for ever, if nothing else is said; the stream for 30 days, and who was away for longer is " +
				"told so with a reset; nothing acknowledged goes before",
			test: row75b1},
		{id: "7.5-b2", question: "Where are pictures and files?",
			promise: "Beside the messages, once each however often sent; an upload that was cut goes on; links are for " +
				"members",
			lacks: "media (" + someday + ")", waits: []string{"media.begin"}},
		{id: "7.5-b3", question: "What if a client has too much?",
			promise: "It forgets what is old: when it is wanted again, it is the same, byte for byte",
			test:    row75b3, lacks: "the library that forgets (" + someday + "); what the server does for one is shown"},
		{id: "7.5-b4", question: "What if its store is broken?",
			promise: "It makes a new one from the server, and what it still had to send is there once",
			test:    row75b4, lacks: "the library that notices (" + someday + "); what the server does for one is shown"},
		{id: "7.5-b5", question: "And with many devices?",
			promise: "Each has a cursor of its own in the one stream: all have everything once and in order in the end",
			test:    row75b5},
	}
}

func counting() []row {
	return []row{
		{id: "7.6-1", question: "Who counts?",
			promise: "The server, from what is stored; a new device shows the same numbers, and no client's number counts",
			test:    row761},
		{id: "7.6-2", question: "Is the total the sum?",
			promise: "Always: both are of one moment, in every answer and in every event, after crashes, too",
			test:    row762},
		{id: "7.6-3", question: "Is what was read on one device read on all?",
			promise: "The larger mark holds, in whatever order they come, and all devices are told",
			test:    row763},
	}
}
