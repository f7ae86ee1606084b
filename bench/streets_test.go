package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/locations"
)

// streets are ways on which cars drive, from one point to the next.
type streets struct {
	name  string
	at    []locations.Point
	onto  [][]int32 // by point: those to which one may drive from there
	start []int32   // points from which one may drive
}

// gothenburg is where the package of e2e/clients/streets has the roads of Gothenburg, of OpenStreetMap.
const gothenburg = "../e2e/clients/streets/node_modules/geojson-path-finder/test/large-network.json"

// roadsOfCars are the values of "highway" that are for cars and go somewhere.
const roadsOfCars = " motorway motorway_link trunk trunk_link primary primary_link secondary secondary_link tertiary tertiary_link " +
	"unclassified residential living_street "

// openStreets gives real streets, or if they are not installed those of a city that was made up.
func openStreets() (*streets, error) {
	text, err := os.ReadFile(gothenburg)
	if errors.Is(err, fs.ErrNotExist) {
		return squares(), nil
	}
	if err != nil {
		return nil, err
	}
	return readStreets("Gothenburg", text)
}

// readStreets reads GeoJSON in which a street is a line with tags of OpenStreetMap; where lines have the same point they meet.
func readStreets(name string, text []byte) (*streets, error) {
	var all struct {
		Features []struct {
			Properties struct {
				Highway, Oneway, Junction string
			}
			Geometry struct {
				Type        string
				Coordinates json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("streets: %w", err)
	}
	s := &streets{name: name}
	known := map[locations.Point]int32{}
	for _, f := range all.Features {
		p := f.Properties
		if f.Geometry.Type != "LineString" || !strings.Contains(roadsOfCars, " "+p.Highway+" ") {
			continue
		}
		var line [][2]float64
		if err := json.Unmarshal(f.Geometry.Coordinates, &line); err != nil {
			return nil, fmt.Errorf("street: %w", err)
		}
		oneway := p.Oneway == "yes" || p.Junction == "roundabout" || strings.HasPrefix(p.Highway, "motorway")
		last := int32(-1)
		for _, c := range line {
			at := locations.Point{Lat: c[1], Lon: c[0]}
			n, ok := known[at]
			if !ok {
				n = s.add(at)
				known[at] = n
			}
			if last >= 0 && last != n {
				s.onto[last] = append(s.onto[last], n)
				if !oneway {
					s.onto[n] = append(s.onto[n], last)
				}
			}
			last = n
		}
	}
	return s.ready()
}

// squares is a city of 13 km by 13 km with a street each 200 m.
func squares() *streets {
	const side, block = 66, 200.0
	s := &streets{name: "a city of squares"}
	corner := locations.Point{Lat: 52.4, Lon: 13.2}
	for i := range side * side {
		s.add(locations.Point{
			Lat: corner.Lat + float64(i/side)*block/111_195,
			Lon: corner.Lon + float64(i%side)*block/111_195/math.Cos(corner.Lat*math.Pi/180),
		})
	}
	for i := range side * side {
		if i%side > 0 {
			s.onto[i], s.onto[i-1] = append(s.onto[i], int32(i-1)), append(s.onto[i-1], int32(i))
		}
		if i >= side {
			s.onto[i], s.onto[i-side] = append(s.onto[i], int32(i-side)), append(s.onto[i-side], int32(i))
		}
	}
	s, _ = s.ready() // it has streets
	return s
}

func (s *streets) add(p locations.Point) int32 {
	s.at, s.onto = append(s.at, p), append(s.onto, nil)
	return int32(len(s.at) - 1)
}

func (s *streets) ready() (*streets, error) {
	for i, onto := range s.onto {
		if len(onto) > 0 {
			s.start = append(s.start, int32(i))
		}
	}
	if len(s.start) == 0 {
		return nil, errors.New("there are no streets")
	}
	return s, nil
}

// metres is how far it is from one point to another on a sphere, by another formula than that of package locations.
func metres(a, b locations.Point) float64 {
	const earth, degree = 6_371_008.8, math.Pi / 180
	ax, ay := math.Sincos(a.Lat * degree)
	bx, by := math.Sincos(b.Lat * degree)
	sin, cos := math.Sincos((b.Lon - a.Lon) * degree)
	return earth * math.Atan2(math.Hypot(by*sin, ay*bx-ax*by*cos), ax*bx+ay*by*cos)
}

// car is one that drives somewhere, and takes any street where there are several.
type car struct {
	*streets
	from, to int32
	done     float64 // metres of the way from one to the other
	speed    float64 // metres a second
	r        *rand.Rand
}

func (s *streets) newCar(seed int) *car {
	c := &car{streets: s, r: rand.New(rand.NewPCG(uint64(seed), 1))}
	c.from = s.start[c.r.IntN(len(s.start))]
	c.to = s.onto[c.from][c.r.IntN(len(s.onto[c.from]))]
	c.speed = (30 + 30*c.r.Float64()) / 3.6
	return c
}

// drive moves the car for a second.
func (c *car) drive() {
	for c.done += c.speed; ; {
		way := metres(c.at[c.from], c.at[c.to])
		if c.done < way {
			return
		}
		c.done -= way
		c.from, c.to = c.to, c.after()
	}
}

// after is where the car drives from where it comes to: not back, if it need not.
func (c *car) after() int32 {
	onto := c.onto[c.to]
	if n := len(onto); n > 0 {
		i := c.r.IntN(n)
		if onto[i] == c.from {
			i = (i + 1) % n
		}
		return onto[i]
	}
	return c.from // a one-way street that ends where the map does
}

// place is where the car is, to six decimals, as it says.
func (c *car) place() locations.Point {
	a, b, part := c.at[c.from], c.at[c.to], c.done/metres(c.at[c.from], c.at[c.to])
	round := func(v float64) float64 { return math.Round(v*1e6) / 1e6 }
	return locations.Point{Lat: round(a.Lat + part*(b.Lat-a.Lat)), Lon: round(a.Lon + part*(b.Lon-a.Lon))}
}

func TestCarsStayOnStreets(t *testing.T) {
	const crossing = `{"features":[
		{"properties":{"highway":"residential"},"geometry":{"type":"LineString","coordinates":[[11.9,57.7],[11.901,57.7],[11.902,57.7]]}},
		{"properties":{"highway":"primary","oneway":"yes"},"geometry":{"type":"LineString","coordinates":[[11.901,57.7],[11.901,57.701]]}},
		{"properties":{"highway":"footway"},"geometry":{"type":"LineString","coordinates":[[11.901,57.7],[11.901,57.6]]}},
		{"properties":{"highway":"pedestrian"},"geometry":{"type":"Polygon","coordinates":[[[11.9,57.6],[11.9,57.5],[11.8,57.6]]]}}]}`
	small, err := readStreets("a crossing", []byte(crossing))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(small.onto); got != "[[1] [0 2 3] [1] []]" {
		t.Errorf("one may drive %s", got)
	}
	for _, s := range []*streets{small, squares()} {
		for seed := range 20 {
			c := s.newCar(seed)
			for range 300 {
				before := c.place()
				c.drive()
				if d := metres(before, c.place()); d > c.speed+0.2 || math.IsNaN(d) {
					t.Fatalf("%s: %.1f m in a second at %.1f m/s", s.name, d, c.speed)
				}
			}
		}
	}
}
