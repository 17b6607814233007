package schedule

import "slices"

// turns is a queue of requests that is fair between jobs: the job with the fewest answers under way is next, jobs with
// equally many take turns, and so do the requests of one job.
type turns struct {
	jobs    []*jobTurn     // jobs with requests; the job that waited longest is first
	running map[string]int // answers and prefixes under way, by job
}

type jobTurn struct {
	name     string
	requests []*request
}

func newTurns() *turns { return &turns{running: map[string]int{}} }

// add puts r behind the other requests of its job.
func (t *turns) add(r *request) { t.put(r, false) }

// again puts r before the other requests of its job: what it was taken for could not be done yet, or is not all.
func (t *turns) again(r *request) { t.put(r, true) }

func (t *turns) put(r *request, first bool) {
	at := slices.IndexFunc(t.jobs, func(j *jobTurn) bool { return j.name == r.engine.Job })
	if at < 0 {
		at = len(t.jobs)
		t.jobs = append(t.jobs, &jobTurn{name: r.engine.Job})
	}
	j := t.jobs[at]
	if first {
		j.requests = slices.Insert(j.requests, 0, r)
		return
	}
	j.requests = append(j.requests, r)
}

// next tells whose turn it is, or nil.
func (t *turns) next() *request {
	if at := t.pick(); at >= 0 {
		return t.jobs[at].requests[0]
	}
	return nil
}

func (t *turns) pick() int {
	best := -1
	for i, j := range t.jobs {
		if best < 0 || t.running[j.name] < t.running[t.jobs[best].name] {
			best = i
		}
	}
	return best
}

// take removes the request whose turn it is; its job goes to the end of the line.
func (t *turns) take() *request {
	at := t.pick()
	if at < 0 {
		return nil
	}
	j := t.jobs[at]
	r := j.requests[0]
	j.requests = j.requests[1:]
	t.jobs = slices.Delete(t.jobs, at, at+1)
	if len(j.requests) > 0 {
		t.jobs = append(t.jobs, j)
	}
	return r
}

// drop removes a request that has ended.
func (t *turns) drop(r *request) {
	for i, j := range t.jobs {
		j.requests = slices.DeleteFunc(j.requests, func(x *request) bool { return x == r })
		if len(j.requests) == 0 {
			t.jobs = slices.Delete(t.jobs, i, i+1)
			return
		}
	}
}

// count notes that n more (or fewer) answers or prefixes of a job are under way.
func (t *turns) count(job string, n int) {
	if t.running[job] += n; t.running[job] == 0 {
		delete(t.running, job)
	}
}
