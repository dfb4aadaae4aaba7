// Kubernetes in one binary, for tests: an etcd, the control plane, and what makes a machine a node.
//
//	hyperkube etcd FOLDER CLIENT_PORT PEER_PORT
//	hyperkube kube-apiserver --flag=value …
package main

import (
	"context"
	"log"
	"net/url"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var programs = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              proxy.NewProxyCommand,
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

func main() {
	name := os.Args[1]
	os.Args = os.Args[1:] // the commands read their flags from here
	if name == "etcd" {
		etcd(os.Args[1], os.Args[2], os.Args[3])
	}
	command, known := programs[name]
	if !known {
		log.Fatalf("%s is neither etcd nor a program of Kubernetes that is in here", name)
	}
	os.Exit(cli.Run(command()))
}

// etcd runs one member until it is killed; its data need not survive that.
func etcd(folder, clientPort, peerPort string) {
	config := embed.NewConfig()
	config.Dir = folder
	config.UnsafeNoFsync = true
	config.LogLevel = "error"
	clients := url.URL{Scheme: "http", Host: "127.0.0.1:" + clientPort}
	peers := url.URL{Scheme: "http", Host: "127.0.0.1:" + peerPort}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{clients}, []url.URL{clients}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peers}, []url.URL{peers}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	running, err := embed.StartEtcd(config)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(<-running.Err())
}
