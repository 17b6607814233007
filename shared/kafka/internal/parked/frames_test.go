package parked

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func joinRequest(version int16) []byte {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = version, "group", "member", "consumer"
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("client")).AppendRequest(nil, req, 7)
}

func syncRequest() []byte {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID = 5, "group", "member"
	return kmsg.NewRequestFormatter().AppendRequest(nil, req, 8)
}

func leaveRequest(version int16) []byte {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group, req.MemberID = version, "group", "member"
	if version >= 3 {
		req.MemberID = ""
		one := kmsg.NewLeaveGroupRequestMember()
		one.MemberID = "member"
		req.Members = append(req.Members, one)
	}
	return kmsg.NewRequestFormatter().AppendRequest(nil, req, 10)
}

// without is the member without its channel.
func without(m *member) member {
	return member{group: m.group, id: m.id, asks: m.asks}
}

func produceRequest() []byte {
	req := kmsg.NewPtrProduceRequest()
	req.Version = 9
	return kmsg.NewRequestFormatter().AppendRequest(nil, req, 9)
}

// followed gives the bytes to frames in pieces and returns the numbers of the requests found.
func followed(t testing.TB, sent []byte, piece int) (numbers []int32) {
	t.Helper()
	var f frames
	for len(sent) > 0 {
		n := min(piece, len(sent))
		f.follow(sent[:n], func(request []byte) {
			if number, _, ok := parse(request); ok {
				numbers = append(numbers, number)
			}
		})
		sent = sent[n:]
	}
	return numbers
}

func TestWaitingRequestsAreFoundHoweverTheyAreCut(t *testing.T) {
	t.Parallel()
	var sent []byte
	for version := range int16(10) {
		sent = append(append(sent, produceRequest()...), joinRequest(version)...)
		sent = append(append(sent, 0, 0, 0, 0), 0, 0, 0, 1, 0) // requests too short for their kind
		sent = append(sent, syncRequest()...)
	}
	for piece := 1; piece < 40; piece++ {
		require.Len(t, followed(t, sent, piece), 20)
	}
	var found frames
	found.follow(joinRequest(9), func(request []byte) {
		number, m, ok := parse(request)
		require.True(t, ok)
		require.Equal(t, int32(7), number)
		require.Equal(t, member{group: "group", id: "member", asks: kmsg.JoinGroup}, without(m))
	})
	found.follow(syncRequest(), func(request []byte) {
		number, m, ok := parse(request)
		require.True(t, ok)
		require.Equal(t, int32(8), number)
		require.Equal(t, member{group: "group", id: "member", asks: kmsg.SyncGroup}, without(m))
	})
	for version := range int16(6) {
		found.follow(leaveRequest(version), func(request []byte) {
			number, m, ok := parse(request)
			require.True(t, ok)
			require.Equal(t, int32(10), number)
			require.Equal(t, member{group: "group", id: "member", asks: kmsg.LeaveGroup}, without(m))
		})
	}
}

// FuzzFrames: whatever a client sends, where it is cut does not matter, and no more than one request is kept.
func FuzzFrames(f *testing.F) {
	f.Add(append(joinRequest(9), syncRequest()...), 3)
	f.Add(append([]byte{0, 0, 0, 1, 0}, produceRequest()...), 1)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 11, 0, 9}, 5)
	f.Fuzz(func(t *testing.T, sent []byte, piece int) {
		require.Equal(t, followed(t, sent, len(sent)+1), followed(t, sent, max(piece, 1)))
	})
}
