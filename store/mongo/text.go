package mongo

import (
	"bytes"
	"reflect"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Strings may hold any bytes: clients wrote most of them. BSON has strings of UTF-8 only, and a server may spoil others without a
// word. So a string that is no UTF-8 is written as binary, and read as the string it was; the driver knows that of itself.
var registry = func() *bson.Registry {
	r := bson.NewRegistry()
	r.RegisterKindEncoder(reflect.String, bson.ValueEncoderFunc(writeText))
	return r
}()

func writeText(_ bson.EncodeContext, to bson.ValueWriter, value reflect.Value) error {
	if s := value.String(); !utf8.ValidString(s) {
		return to.WriteBinary([]byte(s))
	}
	return to.WriteString(value.String())
}

// marshal never fails for what is given to it: it holds nothing that BSON cannot.
func marshal(doc any) []byte {
	var out bytes.Buffer
	e := bson.NewEncoder(bson.NewDocumentWriter(&out))
	e.SetRegistry(registry)
	if err := e.Encode(doc); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// marshalValue is marshal for what is no document.
func marshalValue(value any) bson.RawValue {
	return bson.Raw(marshal(bson.D{{Key: "v", Value: value}})).Lookup("v")
}
