package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/larkstream/larkstream/lark/internal/supervise"
	"github.com/larkstream/larkstream/shared/kafka"
)

// kafkaVersion is the Apache Kafka that the suite runs on; it needs Java 17.
const kafkaVersion = "4.2.0"

// kafkaConfig is one node that is broker and controller, for one machine: no replicas, and nothing made
// by accident (every topic must have been provisioned).
const kafkaConfig = `process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s,SECURE://%[4]s
advertised.listeners=PLAINTEXT://%[1]s,SECURE://%[4]s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=%[5]s
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_lark="%[6]s";
listener.name.secure.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
listener.name.secure.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler
listener.name.secure.oauthbearer.connections.max.reauth.ms=3600000
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=%[2]s
log.dirs=%[3]s
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
`

// kafkaServer is Apache Kafka in a process of its own, started again when it dies.
type kafkaServer struct {
	addr string
	// secure is the address for TLS and a login as kafkaUser; ca is the file with the certificate of the server.
	secure, ca string

	child *supervise.Child
	log   *os.File
}

// startKafka formats a new node in dir and returns once it answers.
func startKafka(ctx context.Context, dir string) (*kafkaServer, error) {
	jars, err := kafkaJars(ctx)
	if err != nil {
		return nil, err
	}
	addr, controller, err := twoFreeAddrs()
	if err != nil {
		return nil, err
	}
	secure, _, err := twoFreeAddrs()
	if err != nil {
		return nil, err
	}
	ca, store := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "server.pem")
	if err := writeCertificate(ca, store); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "server.properties")
	text := fmt.Sprintf(kafkaConfig, addr, controller, filepath.Join(dir, "data"), secure, store, kafkaPassword)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing Kafka's configuration: %w", err)
	}
	// Any 16 bytes in URL-safe base64 make a cluster id.
	format := java(ctx, jars, "kafka.tools.StorageTool", "format", "--standalone", "-t", "bGFya3N0cmVhbS1lMmUtMQ", "-c", config,
		"--add-scram", "SCRAM-SHA-256=[name="+kafkaUser+",password="+kafkaPassword+"]",
		"--add-scram", "SCRAM-SHA-512=[name="+kafkaUser+",password="+kafkaPassword+"]")
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("formatting Kafka's storage: %w: %s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "kafka.log"))
	if err != nil {
		return nil, fmt.Errorf("opening Kafka's log: %w", err)
	}
	k := &kafkaServer{addr: addr, secure: secure, ca: ca, log: log}
	k.child = supervise.Start(childTimes(), supervise.Spec{
		Name: "kafka", Output: log,
		Command: func() (*exec.Cmd, error) {
			return java(context.WithoutCancel(ctx), jars, "kafka.Kafka", config), nil
		},
		Ready: func(ctx context.Context) error { return kafka.Ping(ctx, kafka.Config{Brokers: []string{addr}}) },
	}, quiet())
	if err := k.child.WaitReady(ctx); err != nil {
		k.stop()
		return nil, err
	}
	return k, nil
}

func (k *kafkaServer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	k.child.Stop(ctx)
	_ = k.log.Close()
}

// java runs a main class of Kafka, small and quick to start rather than fast for long.
func java(ctx context.Context, jars string, args ...string) *exec.Cmd {
	flags := []string{
		"-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(jars, "*"),
	}
	return exec.CommandContext(ctx, "java", append(flags, args...)...)
}

// kafkaJars returns the folder of the broker's jars. Maven fetches them once into the user's cache folder.
func kafkaJars(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder: %w", err)
	}
	dir := filepath.Join(cache, "larkstream", "kafka-"+kafkaVersion)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	for _, tool := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("running a real Kafka needs Java 17 and Maven: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return "", fmt.Errorf("making the cache folder: %w", err)
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), "part-")
	if err != nil {
		return "", fmt.Errorf("making the cache folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(part) }()
	fetch := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", filepath.Join("testdata", "kafka.pom.xml"),
		"-Dkafka.version="+kafkaVersion, "-DincludeScope=runtime", "-DoutputDirectory="+part, "dependency:copy-dependencies")
	if out, err := fetch.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetching Kafka %s through Maven: %w: %s", kafkaVersion, err, strings.TrimSpace(string(out)))
	}
	if err := os.Rename(part, dir); err != nil {
		if _, again := os.Stat(dir); again != nil { // another run was faster
			return "", fmt.Errorf("keeping Kafka's jars: %w", err)
		}
	}
	return dir, nil
}
