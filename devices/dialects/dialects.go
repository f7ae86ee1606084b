// Package dialects translates between the words of Magpie and those of other systems that devices were made for. It only reads
// and writes topics and payloads: what becomes of it is for package devices, and whoever asks, to say.
package dialects
