// Package mongo keeps everything in MongoDB: the store for those whom one machine is too small for. It implements the ports
// that accounts, chat and sessions declare.
//
// It needs nothing of MongoDB but operations on single documents, unique indexes and a majority's journal: no transactions,
// change streams, pipeline updates or partial indexes. What has several steps begins with the one that decides, and each that
// follows may be repeated.
package mongo
