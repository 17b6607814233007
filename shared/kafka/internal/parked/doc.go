// Package parked mends how the embedded broker, franz-go's kfake, treats members of a consumer group that wait for the answer to a JoinGroup or
// SyncGroup request. Kafka keeps such members while their rebalance lasts, and gives every member a session timeout when it answers. kfake differs
// in five ways, and each leaves partitions without a reader:
//
//   - A member whose connection breaks while it waits to join for the first time stays in the group without a session timeout. So a process that is
//     killed at that moment keeps the partitions that the group gives it, until some other member comes or goes. Here kfake learns of a broken
//     connection only after it has answered the members that wait on it: its answer starts the session timeout.
//   - A member that waits longer than its session timeout is put out of the group, because clients send no heartbeats while they wait. Here the
//     broker sends these heartbeats as long as the connection of the member is open.
//   - A member that is put out while it waits for its leader is counted as one that joins no more, which it was not. The group then waits for one member more than
//     it has, until the rebalance has lasted as long as it may, and for ever if members ask again before that, for each time the clock starts anew. Here the broker
//     sends heartbeats for such a member until it is answered, also when its connection is broken; its session timeout begins then.
//   - A member that joins again, or leaves, while it waits for its leader is counted as one that does not join any more, or never was. The group then waits without end
//     as above. Its connection may have been cut, so that the client asks on another one. Here kfake is given the request once it has answered the first.
//   - A member that is put out while it waits is never answered. Here its connection is closed, so that the client tries again at once.
//
// It works on the connections, because kfake has no setting for any of this.
package parked
