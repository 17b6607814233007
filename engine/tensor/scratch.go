package tensor

import "sync"

// scratch is memory that products use again.
type scratch[E element] struct{ v []E }

type pool[E element] struct{ free sync.Pool }

func (p *pool[E]) borrow(n int) *scratch[E] {
	s, ok := p.free.Get().(*scratch[E])
	if !ok {
		s = new(scratch[E])
	}
	if cap(s.v) < n {
		s.v = make([]E, n)
	}
	s.v = s.v[:n]
	return s
}

func (p *pool[E]) giveBack(s *scratch[E]) { p.free.Put(s) }

var (
	floatPool pool[float32]
	pairPool  pool[uint32]
	packs     = sync.Pool{New: func() any { return new(Packed) }}
)

func borrow(n int) *scratch[float32] { return floatPool.borrow(n) }

func giveBack(s *scratch[float32]) { floatPool.giveBack(s) }
