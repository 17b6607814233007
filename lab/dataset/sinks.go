package dataset

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/lab/npy"
)

const defaultShard = 1 << 30

func newSink(cfg ExportConfig) (sink, error) {
	size := cmp.Or(cfg.ShardBytes, defaultShard)
	switch cfg.Format {
	case FormatParquet:
		return &parquetSink{shards: newShards(cfg.Out, ".parquet", size), open: map[string]*parquet.GenericWriter[pairRecord]{}}, nil
	case FormatJSONL:
		return &jsonlSink{shards: newShards(cfg.Out, ".jsonl", math.MaxInt64), dir: cfg.Out}, os.MkdirAll(filepath.Join(cfg.Out, "frames"), 0o750)
	}
	return &tarSink{shards: newShards(cfg.Out, ".tar", size), pickle: cfg.Pickle, open: map[string]*tar.Writer{}}, nil
}

// shard is a file of an export under way.
type shard struct {
	File

	file *os.File
	sum  hash.Hash
	path string
}

func (s *shard) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	s.sum.Write(p[:n])
	s.Bytes += int64(n)
	return n, err
}

// shards are the files of an export, one after the other for each split.
type shards struct {
	dir, ending string
	size        int64
	open        map[string]*shard
	numbers     map[string]int
	done        []File
}

func newShards(dir, ending string, size int64) shards {
	return shards{dir: dir, ending: ending, size: size, open: map[string]*shard{}, numbers: map[string]int{}}
}

// of is the shard of a split; fresh says that it was just begun.
func (s *shards) of(split string) (to *shard, fresh bool, err error) {
	if to := s.open[split]; to != nil {
		return to, false, nil
	}
	name := fmt.Sprintf("%s-%06d%s", split, s.numbers[split], s.ending)
	s.numbers[split]++
	file, err := os.CreateTemp(s.dir, "."+name+"-*")
	if err != nil {
		return nil, false, fmt.Errorf("beginning %s: %w", name, err)
	}
	to = &shard{File: File{Name: name, Split: split}, file: file, sum: sha256.New(), path: filepath.Join(s.dir, name)}
	s.open[split] = to
	return to, true, nil
}

// finish gives a shard its name.
func (s *shards) finish(split string) error {
	to := s.open[split]
	delete(s.open, split)
	err := errors.Join(to.file.Chmod(0o644), to.file.Sync(), to.file.Close())
	if err == nil {
		err = os.Rename(to.file.Name(), to.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("finishing %s: %w", to.Name, err), os.Remove(to.file.Name()))
	}
	to.SHA256 = hex.EncodeToString(to.sum.Sum(nil))
	s.done = append(s.done, to.File)
	return nil
}

// closeAll finishes what is open, in the order of splits, after end has written its end.
func (s *shards) closeAll(end func(split string) error) ([]File, error) {
	var faults []error
	for _, split := range []string{splitTrain, splitValidation, splitTest} {
		if s.open[split] != nil {
			faults = append(faults, end(split), s.finish(split))
		}
	}
	return s.done, errors.Join(faults...)
}

// described is what stands about a clip in an export. Its names are those that LLark's training script reads: response is a list of pairs.
type described struct {
	ID       string         `json:"id"`
	Dataset  string         `json:"dataset"`
	Track    string         `json:"track"`
	Artist   string         `json:"artist,omitempty"`
	Audio    string         `json:"audio"`
	Span     Span           `json:"span"`
	Licence  string         `json:"licence"`
	Response []describePair `json:"response"`
}

type describePair struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`
	Family   string `json:"family"`
	Maker    string `json:"maker"`
}

func describe(x sample) described {
	d := described{ID: x.clip.ID, Dataset: x.clip.Dataset, Track: x.clip.Track, Artist: x.clip.Artist, Audio: x.clip.Audio, Span: x.clip.Span, Licence: x.clip.Licence}
	for _, p := range x.pairs {
		d.Response = append(d.Response, describePair{p.Question, p.Answer, p.Family, p.Maker})
	}
	return d
}

// tarSink writes webdataset shards: KEY.json and KEY.audio_encoding.npy (or .pyd) for each clip.
type tarSink struct {
	shards

	pickle bool
	open   map[string]*tar.Writer
}

func (t *tarSink) add(x sample, frames tensor.Matrix) error {
	to, fresh, err := t.of(x.split)
	if err != nil {
		return err
	}
	if fresh {
		t.open[x.split] = tar.NewWriter(to)
	}
	text, err := json.Marshal(describe(x))
	if err != nil {
		return err
	}
	var data bytes.Buffer
	ending := ".audio_encoding.npy"
	if t.pickle {
		ending = ".audio_encoding.pyd"
		writePickle(&data, frames)
	} else if err := npy.Write(&data, frames.Data, frames.Rows, frames.Cols); err != nil {
		return err
	}
	// A key has no dot: webdataset takes what follows the first one for the ending.
	key := strings.NewReplacer("/", "__", ".", "_").Replace(x.clip.ID)
	for _, member := range []struct {
		name string
		raw  []byte
	}{{key + ending, data.Bytes()}, {key + ".json", text}} {
		head := &tar.Header{Name: member.name, Mode: 0o644, Size: int64(len(member.raw)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if len(member.name) > 100 {
			head.Format = tar.FormatPAX
		}
		if err := t.open[x.split].WriteHeader(head); err != nil {
			return err
		}
		if _, err := t.open[x.split].Write(member.raw); err != nil {
			return err
		}
	}
	to.Clips++
	if to.Pairs += len(x.pairs); to.Bytes < t.size {
		return nil
	}
	return errors.Join(t.open[x.split].Close(), t.finish(x.split))
}

func (t *tarSink) close() ([]File, error) {
	return t.closeAll(func(split string) error { return t.open[split].Close() })
}

// jsonlSink writes SPLIT-000000.jsonl with a line a clip, and frames as frames/WINDOW.npy.
type jsonlSink struct {
	shards

	dir string
}

type jsonlLine struct {
	described

	Frames string `json:"frames"`
}

func (j *jsonlSink) add(x sample, frames tensor.Matrix) error {
	to, _, err := j.of(x.split)
	if err != nil {
		return err
	}
	name := "frames/" + x.frames.Window + ".npy"
	path := filepath.Join(j.dir, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		if err := writeWhole(path, func(w io.Writer) error { return npy.Write(w, frames.Data, frames.Rows, frames.Cols) }); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(jsonlLine{describe(x), name})
	if err != nil {
		return err
	}
	to.Clips++
	to.Pairs += len(x.pairs)
	_, err = to.Write(append(raw, '\n'))
	return err
}

func (j *jsonlSink) close() ([]File, error) { return j.closeAll(func(string) error { return nil }) }

// pairRecord is a row of a Parquet file: one pair. Frames are float32, little-endian, by rows; they stand with the first pair of a clip alone.
type pairRecord struct {
	ID       string  `parquet:"id"`
	Dataset  string  `parquet:"dataset,dict"`
	Track    string  `parquet:"track"`
	Artist   string  `parquet:"artist,dict"`
	Audio    string  `parquet:"audio"`
	Start    float64 `parquet:"start_s"`
	End      float64 `parquet:"end_s"`
	Licence  string  `parquet:"licence,dict"`
	Family   string  `parquet:"family,dict"`
	Maker    string  `parquet:"maker,dict"`
	Question string  `parquet:"question"`
	Answer   string  `parquet:"answer"`
	Rows     int32   `parquet:"frames"`
	Cols     int32   `parquet:"width"`
	Frames   []byte  `parquet:"data"`
}

type parquetSink struct {
	shards

	open map[string]*parquet.GenericWriter[pairRecord]
}

// clipsPerGroup bounds how many clips are held in memory before a row group is written.
const clipsPerGroup = 16

func (p *parquetSink) add(x sample, frames tensor.Matrix) error {
	to, fresh, err := p.of(x.split)
	if err != nil {
		return err
	}
	if fresh {
		p.open[x.split] = parquet.NewGenericWriter[pairRecord](to, parquet.Compression(&parquet.Zstd))
	}
	w := p.open[x.split]
	raw := make([]byte, 0, 4*len(frames.Data))
	for _, v := range frames.Data {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	records := make([]pairRecord, len(x.pairs))
	for i, pair := range x.pairs {
		c := x.clip
		records[i] = pairRecord{
			c.ID, c.Dataset, c.Track, c.Artist, c.Audio, c.Span.Start, c.Span.End, c.Licence, pair.Family, pair.Maker, pair.Question, pair.Answer,
			int32(frames.Rows), int32(frames.Cols), nil,
		}
	}
	records[0].Frames = raw
	if _, err := w.Write(records); err != nil {
		return err
	}
	to.Pairs += len(records)
	if to.Clips++; to.Clips%clipsPerGroup == 0 {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if to.Bytes < p.size {
		return nil
	}
	return errors.Join(w.Close(), p.finish(x.split))
}

func (p *parquetSink) close() ([]File, error) {
	return p.closeAll(func(split string) error { return p.open[split].Close() })
}
