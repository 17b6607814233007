// Package e2e tests Larkstream as its users run it: through the real binaries, over HTTP and the Kafka
// protocol. The same suite runs in two environments:
//
//   - embedded (the default): `lark up` with the embedded broker, all state in one data folder;
//   - LARK_E2E_KAFKA=real: Apache Kafka in KRaft mode (its jars come through Maven, once), a redis-server,
//     and each service's own binary. The suite starts and stops all of them on loopback.
//
// Stages run with their test engines (fast, deterministic, with a delay) except where a test says that it
// runs lark-nano or llama.cpp. go test -short skips the suite.
package e2e
