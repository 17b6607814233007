// Package config fills a program's configuration: defaults, then a YAML file, then the environment, then flags. Each
// overrides the one before. Every service and lark serve use it.
//
// A field's YAML key comes from its yaml tag. The path of the key gives the flag and the environment variable, unless the
// tags flag and env name them, or forbid them with "-": window_seconds under encoder is --encoder-window-seconds and
// PREFIX_ENCODER_WINDOW_SECONDS. The tag default is the value of a field that nobody sets, and the tag help is its
// documentation in --help.
//
// Promises: Load reports every fault at once, each with the path of its setting. An unknown key in the file is a fault. A
// Secret never prints its value. --validate checks the configuration and starts nothing.
package config
