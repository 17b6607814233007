// Package filetags replaces single tags of audio files: ID3v2.3 and ID3v2.4 in MP3, Vorbis comments in FLAC. It works out which bytes of a file change, copies
// all others, and keeps a list by which every file becomes what it was. Audio, pictures and the tags of other fields stay byte for byte.
package filetags
