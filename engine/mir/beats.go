package mir

import (
	"math"
	"slices"
)

// tightness is how much a beat costs that comes early or late (Ellis's alpha).
const tightness = 120

// trackBeats places beats by dynamic programming (Ellis, "Beat Tracking by Dynamic Programming", JNMR 2007): the sum of the onset strengths at the beats
// less tightness times the squared logarithm of each interval over the local period. Periods are in frames, one per frame. It returns frames.
func trackBeats(strength, periods []float64) []int {
	n := len(strength)
	score, from := make([]float64, n), make([]int, n)
	end := -1
	for t := range n {
		period := periods[t]
		best, prev := 0.0, -1
		first, last := t-int(math.Round(2*period)), t-int(math.Round(period/2))
		for k := max(0, first); k <= last; k++ {
			d := math.Log(float64(t-k) / period)
			if v := score[k] - tightness*d*d; prev < 0 || v > best {
				best, prev = v, k
			}
		}
		if prev >= 0 && best < 0 {
			best, prev = 0, -1 // a fresh start is better
		}
		score[t], from[t] = strength[t]+best, prev
		if float64(n-t) <= 1.2*period+1 && (end < 0 || score[t] > score[end]) {
			end = t
		}
	}
	var out []int
	for t := end; t >= 0; t = from[t] {
		out = append(out, t)
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// periodsOf spreads the windows' tempi over the frames, in a straight line between the windows' centres.
func periodsOf(places [][2]int, local []float64, frames int) []float64 {
	out := make([]float64, frames)
	w := 0
	for t := range out {
		for w+1 < len(places) && t >= centre(places[w+1]) {
			w++
		}
		bpm := local[w]
		if w+1 < len(places) && t > centre(places[w]) {
			f := float64(t-centre(places[w])) / float64(centre(places[w+1])-centre(places[w]))
			bpm = local[w]*(1-f) + local[w+1]*f
		}
		out[t] = framesPerSecond * 60 / bpm
	}
	return out
}

func centre(place [2]int) int { return (place[0] + place[1]) / 2 }

// heard drops beats before the first and after the last onset that matters, by more than one period.
func heard(beats []int, strength, periods []float64) []int {
	const matters = 0.5
	first, last := 0, len(strength)-1
	for first < last && strength[first] < matters {
		first++
	}
	for last > first && strength[last] < matters {
		last--
	}
	for len(beats) > 0 && float64(first-beats[0]) > 0.5*periods[beats[0]] {
		beats = beats[1:]
	}
	for len(beats) > 0 && float64(beats[len(beats)-1]-last) > 0.5*periods[beats[len(beats)-1]] {
		beats = beats[:len(beats)-1]
	}
	return beats
}

// rateOver is how many beats an interval spans from which the rate is read.
const rateOver = 8

// rate is the tempo that the beats have, in BPM: the mean of the middle half of the intervals over eight beats, so that a beat too many does not change it; 0 for too few.
func rate(beats []int) float64 {
	over := min(rateOver, len(beats)-1)
	if over < 3 {
		return 0
	}
	var intervals []float64
	for i := over; i < len(beats); i++ {
		intervals = append(intervals, float64(beats[i]-beats[i-over])/float64(over))
	}
	return 60 * framesPerSecond / trimmed(intervals)
}

// trimmed is the mean of the middle half.
func trimmed(x []float64) float64 {
	s := slices.Sorted(slices.Values(x))
	return mean(s[len(s)/4 : len(s)-len(s)/4])
}
