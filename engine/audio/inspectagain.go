package audio

import "bytes"

// inspectors are several that look at the same file.
type inspectors []inspector

func inspectAll(makers ...func(*Faults) inspector) func(*Faults) inspector {
	return func(f *Faults) inspector {
		var all inspectors
		for _, m := range makers {
			all = append(all, m(f))
		}
		return all
	}
}

func (all inspectors) Write(b []byte) (int, error) {
	for _, i := range all {
		if n, err := i.Write(b); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

func (all inspectors) end() {
	for _, i := range all {
		i.end()
	}
}

// againInspector notes a second file behind the first, for formats of which ffmpeg reads only the first: files that were joined byte by byte.
type againInspector struct {
	f    *Faults
	mark []byte // stands once in a file: its first bytes, if nothing else is given
	tail []byte
	seen int
}

// markBytes is how long a mark is: such bytes do not stand in sound by chance.
const markBytes = 8

func inspectAgain(mark string) func(*Faults) inspector {
	return func(f *Faults) inspector { return &againInspector{f: f, mark: []byte(mark)} }
}

func (a *againInspector) Write(b []byte) (int, error) {
	all := append(a.tail, b...)
	if len(a.mark) == 0 && len(all) >= markBytes {
		a.mark = bytes.Clone(all[:markBytes])
	}
	if len(a.mark) > 0 {
		a.seen += bytes.Count(all, a.mark)
	}
	a.tail = append(a.tail[:0], all[max(0, len(all)-markBytes+1):]...)
	return len(b), nil
}

func (a *againInspector) end() {
	if a.seen > 1 {
		a.f.whole(StaleHeader, "another file follows the first in the same bytes and was not read: files were joined without making one of them")
	}
}
