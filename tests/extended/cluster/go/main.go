// A Kubernetes control plane in one binary, for tests: the API server, the controllers and an etcd.
//
//	control-plane etcd FOLDER CLIENT_PORT PEER_PORT
//	control-plane kube-apiserver --flag=value …
//	control-plane kube-controller-manager --flag=value …
package main

import (
	"log"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	program := os.Args[1]
	os.Args = os.Args[1:] // the commands read their flags from here
	switch program {
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "etcd":
		etcd(os.Args[1], os.Args[2], os.Args[3])
	default:
		log.Fatalf("%s is none of kube-apiserver, kube-controller-manager, etcd", program)
	}
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
