// Package confine starts programs that read hostile files with fewer rights than their parent has: in namespaces of their own, with access
// to few files, and behind a filter of system calls, as far as the system allows. docs/adr/0061-confinement-of-ffmpeg.md says why so.
package confine
