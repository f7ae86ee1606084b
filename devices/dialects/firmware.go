package dialects

import (
	"strconv"
	"strings"
)

// Topics with which devices that were made for ThingsBoard load firmware piece by piece.
const (
	FirmwareError  = "v2/fw/error" // where it is told what went wrong
	firmwareAsked  = "v2/fw/request/"
	firmwareAnswer = "v2/fw/response/"
)

// Piece is a part of the firmware that a device asks for: which one, if all are as large as it says.
type Piece struct {
	Request string // a number that the device has chosen
	Number  int64
}

// ParsePiece takes the topic apart that a device asks for a piece on.
func ParsePiece(topic string) (p Piece, ok bool) {
	rest, ok := strings.CutPrefix(topic, firmwareAsked)
	if !ok {
		return Piece{}, false
	}
	request, number, ok := strings.Cut(rest, "/chunk/")
	if _, err := strconv.ParseUint(request, 10, 32); err != nil || !ok {
		return Piece{}, false
	}
	n, err := strconv.ParseUint(number, 10, 32)
	return Piece{request, int64(n)}, err == nil
}

// Topic is where the piece is told.
func (p Piece) Topic() string {
	return firmwareAnswer + p.Request + "/chunk/" + strconv.FormatInt(p.Number, 10)
}

// IsFirmware says whether a filter is one of what is told of firmware.
func IsFirmware(filter string) bool {
	return strings.HasPrefix(filter, firmwareAnswer) || filter == FirmwareError
}
