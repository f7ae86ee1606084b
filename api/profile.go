package api

// profileRows are what people say of themselves, and finding them.
func profileRows(_ Rooms) []*Operation { return nil }
