// Package spaces joins things with people: which of a home's people may do what with its things, and what becomes of the things
// of somebody who is gone.
package spaces
