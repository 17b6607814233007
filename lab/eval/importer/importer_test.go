package importer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	collect "github.com/larkstream/larkstream/lab/collection"
	"github.com/larkstream/larkstream/lab/eval"
)

// lay writes a collection: files by path; names of audio get a few bytes.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

// imported imports, reads the set back as lark eval does, and returns its clips by id.
func imported(t *testing.T, name string, files map[string]string) (map[string]eval.Labels, Result) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "sets", name)
	result, err := Import(name, lay(t, files), out)
	require.NoError(t, err)
	set, err := eval.ReadSet(out, 0)
	require.NoError(t, err)
	require.Len(t, set.Clips, result.Clips)
	clips := map[string]eval.Labels{}
	for _, c := range set.Clips {
		clips[c.ID] = c.Labels
	}
	return clips, result
}

func TestGiantsteps(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "giantsteps-key", map[string]string{
		"annotations/key/10089.LOFI.key": "D# minor\n", "audio/10089.LOFI.mp3": "x",
		"annotations/key/209206.LOFI.key": "#@format: key\ttimestamp(float)\tkey(string)\nkey 0 G major\n", "audio/209206.LOFI.mp3": "x",
		"annotations/key/3.LOFI.key": "", "annotations/key/4.LOFI.key": "C major", "annotations/key/5.LOFI.key": "unknown", "audio/5.LOFI.mp3": "x",
		"annotations/key/._6.LOFI.key": "\x00", "annotations/key/7.LOFI.key": "C major", "audio/7.LOFI.mp3": "",
	})
	require.Equal(t, map[string]eval.Labels{"10089.LOFI": {Key: "D# minor"}, "209206.LOFI": {Key: "G major"}}, clips)
	require.Equal(t, map[string]int{collect.NoLabel: 2, collect.NoAudio: 1, collect.BadAudio: 1}, result.Skipped)

	clips, result = imported(t, "giantsteps-tempo", map[string]string{
		"annotations/tempo/1.LOFI.bpm": "140", "annotations_v2/tempo/1.LOFI.bpm": "137.6\n", "audio/1.LOFI.mp3": "x",
		"annotations_v2/tempo/2.LOFI.bpm": "0.0", "audio/2.LOFI.mp3": "x", "annotations_v2/tempo/3.LOFI.bpm": "fast", "audio/3.LOFI.mp3": "x",
	})
	require.Equal(t, map[string]eval.Labels{"1.LOFI": {TempoBPM: 137.6}}, clips, "the corrected annotations win")
	require.Equal(t, 2, result.Skipped[collect.NoLabel])
}

func TestGTZAN(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "gtzan", map[string]string{
		"genres_original/blues/blues.00000.wav": "x", "genres_original/hiphop/hiphop.00099.wav": "x", "genres_original/rock/._rock.00001.wav": "x",
		"genres_original/rock/readme.txt": "x", "genres_original/jazz/jazz.00054.wav": "x",
	})
	require.Len(t, clips, 3)
	require.Equal(t, "hiphop", clips["hiphop.00099"].Genre)
	require.Len(t, clips["hiphop.00099"].GenreChoices, 10)
	require.Equal(t, 6, result.Skipped["genres without a folder"])
	clips, _ = imported(t, "gtzan", map[string]string{"genres/pop/pop.00001.au": "x"})
	require.Contains(t, clips, "pop.00001")
}

func TestMusicNet(t *testing.T) {
	t.Parallel()
	header := "start_time,end_time,instrument,note,start_beat,end_beat,note_value\n"
	clips, result := imported(t, "musicnet", map[string]string{
		"musicnet_metadata.csv":  "id,composer,composition,movement,ensemble,source,transcriber,catalog_name,seconds\n1727,Schubert,\"Piano Quintet, A major\",2. Andantino,Piano Quintet,x,x,OP114,447\n1,B,c,m,e,s,t,o,30\n",
		"train_labels/1727.csv":  header + "9182,90078,43,53,4.0,1.5,Dotted Quarter\n1411200,1500000,41,60,1,1,Quarter\n2300000,2400000,1,60,1,1,Quarter\n2600000,2700000,74,60,1,1,Quarter\n\nnot,a,note\n1500000,1600000,99,60,1,1,Quarter\n",
		"train_data/1727.wav":    "x",
		"test_labels/1.csv":      header + "0,1000,1,60,1,1,Quarter\n1200000,1300000,41,60,1,1,Quarter\n",
		"test_data/1.wav":        "x",
		"test_labels/2.csv":      header,
		"test_data/2.wav":        "x",
		"train_labels/ghost.csv": header + "0,1000,1,60,1,1,Quarter\n",
	})
	require.Len(t, clips, 2)
	require.Equal(t, []string{"piano", "violin"}, *clips["train/1727"].Instruments, "those of seconds 30 to 55: neither the cello before nor the flute after")
	require.Equal(t, []string{"piano"}, *clips["test/1"].Instruments, "the first 25 s of a short track")
	require.Equal(t, map[string]int{collect.BadRow: 2, collect.NoLabel: 1, collect.NoAudio: 1}, result.Skipped)
}

func TestMedleyDB(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "medleydb", map[string]string{
		"Audio/A_Song/A_Song_MIX.wav": "x",
		"Metadata/A_Song_METADATA.yaml": "artist: A\ngenre: Rock\nmix_filename: A_Song_MIX.wav\nstems:\n  S01:\n    component: ''\n    instrument: drum set\n    raw: {R01: {instrument: drum set}}\n" +
			"  S02: {instrument: [clean electric guitar, Main System]}\n  S03: {instrument: male singer}\n",
		"Audio/B_Song/B_Song_MIX.wav":       "x",
		"Audio/B_Song/B_Song_METADATA.yaml": "genre: Polka\nstems:\n  S01: {instrument: violin}\n",
		"Audio/C_Song/C_Song_METADATA.yaml": "genre: Jazz\nstems: {}\n",
		"Audio/D_Song/D_Song_METADATA.yaml": "genre: [\n",
		"Audio/D_Song/D_Song_MIX.wav":       "x",
	})
	require.Len(t, clips, 2)
	require.Equal(t, []string{"clean electric guitar", "drum set", "male singer"}, *clips["A_Song"].Instruments)
	require.True(t, *clips["A_Song"].Drums)
	require.Equal(t, "Rock", clips["A_Song"].Genre)
	require.False(t, *clips["B_Song"].Drums)
	require.Empty(t, clips["B_Song"].Genre)
	require.Equal(t, map[string]int{collect.NoAudio: 1, collect.BadRow: 1}, result.Skipped)
}

func TestJamendo(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "mtg-jamendo", map[string]string{
		"data/autotagging.tsv": "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n" +
			"track_0000948\tartist_1\talbum_1\t48/948.mp3\t212.7\tgenre---hiphop\tinstrument---electricguitar\tmood/theme---happy\n" +
			"track_2\ta\tb\t02/2.mp3\t99\tgenre---rock\tgenre---pop\tinstrument---drummachine\n" +
			"track_3\ta\tb\t03/3.mp3\t99\tmood/theme---sad\n" +
			"track_4\ta\tb\t../../../etc/passwd\t99\tgenre---pop\n" +
			"track_5\tbroken\n",
		"48/948.low.mp3": "x", "audio/02/2.mp3": "x", "03/3.mp3": "x",
	})
	require.Len(t, clips, 2)
	require.Equal(t, "hip hop", clips["track_0000948"].Genre)
	require.Equal(t, []string{"electric guitar"}, *clips["track_0000948"].Instruments)
	require.Contains(t, clips["track_0000948"].GenreChoices, "pop")
	require.Empty(t, clips["track_2"].Genre, "two genres are none")
	require.Equal(t, map[string]int{collect.NoLabel: 1, collect.NoAudio: 1, collect.BadRow: 1}, result.Skipped)
}

func TestMagnaTagATune(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "magnatagatune", map[string]string{
		"annotations_final.csv": "\"clip_id\"\t\"no voice\"\t\"guitar\"\t\"flutes\"\t\"classical\"\t\"rock\"\t\"slow\"\t\"mp3_path\"\n" +
			"\"2\"\t\"1\"\t\"1\"\t\"0\"\t\"1\"\t\"0\"\t\"0\"\t\"f/bach.mp3\"\n" +
			"\"6\"\t\"0\"\t\"0\"\t\"1\"\t\"1\"\t\"1\"\t\"0\"\t\"f/two.mp3\"\n" +
			"\"7\"\t\"0\"\t\"0\"\t\"0\"\t\"0\"\t\"0\"\t\"1\"\t\"f/slow.mp3\"\n" +
			"\"8\"\t\"0\"\t\"0\"\t\"0\"\t\"0\"\t\"1\"\t\"0\"\t\"6/empty.mp3\"\n",
		"f/bach.mp3": "x", "f/two.mp3": "x", "f/slow.mp3": "x", "6/empty.mp3": "",
	})
	require.Len(t, clips, 2)
	require.Equal(t, "classical", clips["2"].Genre)
	require.Equal(t, []string{"guitar"}, *clips["2"].Instruments)
	require.Empty(t, clips["6"].Genre)
	require.Equal(t, []string{"flutes"}, *clips["6"].Instruments)
	require.Equal(t, map[string]int{collect.NoLabel: 1, collect.BadAudio: 1}, result.Skipped)
}

const capsHeader = "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval\n"

func TestMusicCaps(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "musiccaps", map[string]string{
		"musiccaps-public.csv": "\ufeff" + capsHeader +
			"-0Gj8-vB1q4,30,40,\"/m/0140xf,/m/02cjck\",\"['low quality', 'sustained strings melody']\",\"The low quality recording, with \"\"hiss\"\".\nTwo lines.\",4,False,True\n" +
			"-0SdAVK79lg,30,40,x,[],A guitar.,0,False,False\nnoaudio,0,10,x,[],Gone.,0,False,True\nempty,0,10,x,[],,0,False,True\n",
		"audio/-0Gj8-vB1q4.wav": "x", "wav/[-0SdAVK79lg]-[30-40].wav": "x",
	})
	require.Len(t, clips, 2)
	require.Equal(t, "The low quality recording, with \"hiss\".\nTwo lines.", clips["-0Gj8-vB1q4"].Caption)
	require.Equal(t, "A guitar.", clips["-0SdAVK79lg"].Caption)
	require.Equal(t, map[string]int{collect.NoLabel: 1, collect.NoAudio: 1}, result.Skipped)
}

func TestMuChoMusic(t *testing.T) {
	t.Parallel()
	clips, result := imported(t, "muchomusic", map[string]string{
		"data/muchomusic.csv": "question,correct_answer,distractor_1_answer,distractor_2_answer,distractor_3_answer,dataset,dataset_identifier,genre,music_reasoning,music_knowledge\n" +
			"Which mood?,Calm,Angry,Jazz,Metal,sdd,1004034.json,ambient,\"['mood']\",[]\n" +
			"\"Which one, then?\",Yes,No,No,,sdd,1004034.json,,,\n" +
			"What plays?,Guitar,Piano,Rock,Drums,musiccaps,ab_c-1_3.json,rock,[],[]\n" +
			"What plays?,Guitar,Piano,Rock,Drums,musiccaps,gone_0.json,rock,[],[]\n" +
			",Guitar,Piano,Rock,Drums,sdd,1004034.json,rock,[],[]\n",
		"data/sdd/song_describer.csv": "caption_id,track_id,caption,is_valid_subset,path\n1,1004034,Nice,True,34/1004034.mp3\n", "data/sdd/audio/34/1004034.2min.mp3": "x",
		"data/musiccaps/musiccaps-public.csv": capsHeader + "ab_c-1,30.0,40.0,x,[],c,1,False,True\n", "data/musiccaps/audio/[ab_c-1]-[30-40].wav": "x",
	})
	require.Len(t, clips, 2)
	require.Equal(t, []eval.Choice{
		{Question: "Which mood?", Choices: []string{"Calm", "Angry", "Jazz", "Metal"}, Answer: "Calm"},
		{Question: "Which one, then?", Choices: []string{"Yes", "No"}, Answer: "Yes"},
	}, clips["sdd/1004034"].MultipleChoice)
	require.Contains(t, clips, "musiccaps/ab_c-1")
	require.Equal(t, map[string]int{collect.BadRow: 1, collect.NoAudio: 1}, result.Skipped)
}

func TestManifest(t *testing.T) {
	t.Parallel()
	clips, _ := imported(t, "manifest", map[string]string{
		"manifest.jsonl": `{"file":"test1.wav","tempo_bpm":90,"key":"C","mode":"major","metre":"4/4","families":["piano"],"drums":true}` + "\n", "test1.wav": "x",
	})
	require.Equal(t, "C major", clips["test1"].Key)
	require.True(t, clips["test1"].Unanswerable)
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	_, err := Import("fma", t.TempDir(), t.TempDir())
	require.ErrorContains(t, err, "there are giantsteps-key")
	_, err = Import("gtzan", filepath.Join(t.TempDir(), "none"), t.TempDir())
	require.ErrorContains(t, err, "--from names the folder")
	for _, name := range Names() {
		_, err = Import(name, t.TempDir(), filepath.Join(t.TempDir(), "out"))
		require.Error(t, err, name)
	}
	_, err = Import("musiccaps", lay(t, map[string]string{"musiccaps-public.csv": "a,b\n1,2\n"}), t.TempDir())
	require.ErrorContains(t, err, "has no column ytid")
}

// FuzzTables reads hostile tables: an import may refuse them, and must not take a file from outside its folder.
func FuzzTables(f *testing.F) {
	f.Add("clip_id\tguitar\tmp3_path\n1\t1\tf/a.mp3\n")
	f.Add("clip_id\tguitar\tmp3_path\n1\t1\t../../../etc/passwd\n\"\n\x00\t\t")
	f.Fuzz(func(t *testing.T, text string) {
		dir := lay(t, map[string]string{"annotations_final.csv": text, "f/a.mp3": "x", "data/autotagging.tsv": text})
		for _, name := range []string{"magnatagatune", "mtg-jamendo"} {
			out := t.TempDir()
			if _, err := Import(name, dir, out); err != nil {
				continue
			}
			set, err := eval.ReadSet(out, 0)
			require.NoError(t, err)
			for _, c := range set.Clips {
				rel, err := filepath.Rel(dir, set.Path(c))
				require.NoError(t, err)
				require.False(t, strings.HasPrefix(rel, ".."), rel)
			}
		}
	})
}
