package audio

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/larkstream/larkstream/engine/audio/internal/confine"
)

// Limits of one ffmpeg process beside the wall time: address space, memory that it writes, CPU time, and no files written.
const (
	ffmpegAddressKB = 2 << 20
	ffmpegDataKB    = 128 << 10
	ffmpegWaitDelay = 2 * time.Second
)

// FFmpegMemory is what an ffmpeg process takes at most, in bytes: the memory that it may write, and its program and libraries.
const FFmpegMemory = (ffmpegDataKB + 64<<10) << 10

// ulimits sets the limits in the process that becomes ffmpeg, so that it never runs without them. A limit that the
// system does not have (macOS knows no -v) is passed over; /dev/null cannot be opened for writing there.
const ulimits = `ulimit -c 0; ulimit -f 0; ulimit -t "$1"; ulimit -v "$2" 2>&-; ulimit -d "$3" 2>&-; shift 3; exec "$@"`

// What ffmpeg may open: containers and codecs of sound. Playlists, scripts that name further files, devices and network formats are not
// among them, nor is any decoder of pictures.
const (
	allowedFormats = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,loas,matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,nut,ogg," +
		"oma,rm,sox,tak,truehd,tta,voc,w64,wav,wv,xwma"
	allowedCodecs = "aac,aac_latm,ac3,eac3,alac,amrnb,amrwb,ape,atrac1,atrac3,atrac3plus,cook,dca,dsd_lsbf,dsd_lsbf_planar,dsd_msbf,dsd_msbf_planar," +
		"flac,g722,gsm,gsm_ms,mlp,mp1,mp1float,mp2,mp2float,mp3,mp3float,mp3on4float,mpc7,mpc8,nellymoser,opus,qdm2,speex,tak,truehd,tta,vorbis,wavpack,wmalossless,wmapro," +
		"wmav1,wmav2,wmavoice,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_sbpro_2,adpcm_sbpro_3,adpcm_sbpro_4,adpcm_swf,adpcm_yamaha,g726,g726le," +
		"pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_s16be,pcm_s16be_planar,pcm_s16le,pcm_s16le_planar," +
		"pcm_s24be,pcm_s24le,pcm_s24le_planar,pcm_s32be,pcm_s32le,pcm_s32le_planar,pcm_s64be,pcm_s64le,pcm_s8,pcm_s8_planar,pcm_u16be,pcm_u16le,pcm_u24be," +
		"pcm_u24le,pcm_u32be,pcm_u32le,pcm_u8,s302m"
)

// ffmpeg decodes the formats that have no decoder in Go. The child sees one file, reads no network, and
// hands back a float WAV stream at the file's own rate and channels: resampling and downmix stay ours.
type ffmpeg struct {
	path    string // of the program; "" if not installed
	scratch string // folder for the copy that ffmpeg seeks in
	limits  Limits
	confine confine.Confinement
}

func (f ffmpeg) open(ctx context.Context, in *file, ft format) (*source, error) {
	if f.path == "" && ft.demuxer == "" {
		return nil, undecodable("the content is neither wav, flac nor mp3, and ffmpeg, which reads other formats, is not installed where chunker-svc runs")
	}
	if f.path == "" {
		return nil, &Error{Code: NeedsFFmpeg, Err: fmt.Errorf(
			"reading %s needs ffmpeg: install it (apt install ffmpeg, brew install ffmpeg) where chunker-svc runs", ft.name)}
	}
	file, err := f.copyIn(in, ft)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &ffmpegProcess{cmd: f.command(ctx, file, ft), confine: f.confine, file: file, format: ft, faults: in.faults}
	s, err := p.start(ctx)
	if err != nil {
		cancel()
		p.finish()
		return nil, err
	}
	s.close = func() {
		cancel()
		p.finish()
	}
	return s, nil
}

// copyIn writes the file to the scratch folder, since some formats keep their index at the end. The file's own inspector sees it on the way.
func (f ffmpeg) copyIn(in *file, ft format) (string, error) {
	file, err := os.CreateTemp(f.scratch, "lark-ffmpeg-*")
	if err != nil {
		return "", fmt.Errorf("making scratch file: %w", err)
	}
	w, look := io.Writer(file), inspector(nil)
	if ft.inspect != nil {
		look = ft.inspect(in.faults)
		w = io.MultiWriter(file, look)
	}
	_, err = io.Copy(w, in)
	if err == nil && look != nil {
		look.end()
	}
	err = errors.Join(err, file.Close())
	switch {
	case err == nil:
		return file.Name(), nil
	case CodeOf(err) != "":
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return "", errors.Join(fmt.Errorf("writing scratch file: %w", err), os.Remove(file.Name()))
}

func (f ffmpeg) command(ctx context.Context, file string, ft format) *exec.Cmd {
	seconds := int(f.limits.Timeout/time.Second) + 1
	args := []string{
		"-c", ulimits, "sh", strconv.Itoa(seconds), strconv.Itoa(ffmpegAddressKB), strconv.Itoa(ffmpegDataKB), f.path,
		"-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info", "-threads", "1",
		"-protocol_whitelist", "file,pipe", "-format_whitelist", allowedFormats, "-codec_whitelist", allowedCodecs,
	}
	if ft.demuxer != "" {
		args = append(args, "-f", ft.demuxer)
	}
	if ft.decoder != "" {
		args = append(args, "-c:a", ft.decoder)
	}
	args = append(args, "-i", "file:"+file,
		"-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1",
		"-t", strconv.Itoa(int(f.limits.Duration/time.Second)+2),
		"-threads", "1", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1")
	cmd := exec.CommandContext(ctx, "/bin/sh", args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	cmd.Dir = filepath.Dir(file)
	cmd.WaitDelay = ffmpegWaitDelay
	return cmd
}

// ffmpegProcess is one running child and the scratch file that it reads.
type ffmpegProcess struct {
	cmd     *exec.Cmd
	confine confine.Confinement
	file    string
	format  format
	faults  *Faults
	log     ffmpegLog
	waited  bool
	err     error
	frames  int64
}

func (p *ffmpegProcess) start(ctx context.Context) (*source, error) {
	p.cmd.Stderr = &p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting ffmpeg: %w", err)
	}
	if err := p.confine.Start(p.cmd, p.file); err != nil {
		p.waited = true
		return nil, fmt.Errorf("starting ffmpeg: %w", err)
	}
	// The stream's own header is not a header of the user's file: its faults, if any, are not kept.
	s, err := openWAV(ctx, &file{Reader: bufio.NewReaderSize(out, peekBytes), faults: &Faults{}})
	if err != nil {
		return nil, p.failure()
	}
	next, rate, channels := s.next, s.rate, s.channels
	s.declared = 0
	s.next = func() ([]float32, error) {
		block, err := next()
		p.frames += int64(len(block) / channels)
		if err == nil || !errors.Is(err, io.EOF) {
			return block, err
		}
		return nil, p.ended(float64(p.frames) / float64(rate))
	}
	return s, nil
}

// linkErrors is how many lines of errors ffmpeg writes for a further stream of a chained Opus file: it takes the two packets of the stream's header
// for sound. Damage is seen by the checksums of the pages.
const linkErrors = 4

// ended judges what was decoded by what ffmpeg said of it.
func (p *ffmpegProcess) ended(seconds float64) error {
	if p.wait() != nil || p.frames == 0 {
		return p.failure()
	}
	told, known := p.log.duration()
	if !known && p.faults.toldS > 0 {
		told, known = p.faults.toldS, true
	}
	damaged := p.log.errors > linkErrors*p.faults.opusLinks || p.log.corrupt > 0 && !(p.format.lastCut && p.log.corrupt == 1)
	short := known && !p.format.stream && told-seconds > 0.1+told/100
	if short {
		p.faults.MissingS += told - seconds
	}
	switch {
	case (p.log.early || short) && !p.faults.has(DamagedFrames) && !p.faults.has(Truncated):
		p.faults.add(Truncated, seconds, "the file is truncated: its header tells of %.1f s, %.1f s are there", max(told, seconds), seconds)
	case damaged && !p.faults.has(DamagedFrames) && !p.faults.has(Truncated) && !p.faults.has(SampleRateChanged):
		p.faults.whole(DamagedFrames, "some of the %s file could not be decoded and was left out", p.format.name)
	}
	return io.EOF
}

func (p *ffmpegProcess) wait() error {
	if !p.waited {
		p.waited, p.err = true, p.cmd.Wait()
	}
	return p.err
}

// failure tells in our own words why nothing was decoded.
func (p *ffmpegProcess) failure() error {
	_ = p.wait() // the log is complete then
	if p.log.streams == 0 && p.faults.has(Truncated) {
		return undecodable("the %s file is truncated before its first sample", p.format.name)
	}
	return undecodable("%s", p.log.reason(p.format.name))
}

func (p *ffmpegProcess) finish() {
	_ = p.wait() // killed by its context, or ended before
	_ = os.Remove(p.file)
}
