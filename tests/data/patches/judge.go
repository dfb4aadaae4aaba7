package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/api/pod"
	apps "k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsval "k8s.io/kubernetes/pkg/apis/apps/validation"
	core "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/capabilities"
	kjson "sigs.k8s.io/json"
)

type in struct {
	Doc   json.RawMessage `json:"doc"`
	Patch json.RawMessage `json:"patch"`
}
type out struct {
	Merged json.RawMessage `json:"merged,omitempty"`
	Error  string          `json:"error,omitempty"`
	Errors []string        `json:"errors"`
}

func main() {
	capabilities.Initialize(capabilities.Capabilities{AllowPrivileged: true})
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(make([]byte, 1<<20), 1<<26)
	enc := json.NewEncoder(os.Stdout)
	for scanner.Scan() {
		var i in
		if err := json.Unmarshal(scanner.Bytes(), &i); err != nil {
			panic(err)
		}
		enc.Encode(judge(i))
	}
}

func judge(i in) (o out) {
	o.Errors = []string{}
	defer func() {
		if r := recover(); r != nil {
			o.Error = fmt.Sprint("panic ", r)
		}
	}()
	var meta struct{ Kind string }
	json.Unmarshal(i.Doc, &meta)
	var versioned runtime.Object = &appsv1.Deployment{}
	var schema interface{} = appsv1.Deployment{}
	if meta.Kind != "Deployment" {
		versioned = &corev1.PersistentVolumeClaim{}
		schema = corev1.PersistentVolumeClaim{}
	}
	merged := []byte(i.Doc)
	if len(i.Patch) > 0 {
		var err error
		merged, err = strategicpatch.StrategicMergePatch(i.Doc, i.Patch, schema)
		if err != nil {
			o.Error = err.Error()
			return
		}
	}
	o.Merged = merged
	strict, err := kjson.UnmarshalStrict(merged, versioned)
	if err != nil {
		o.Errors = append(o.Errors, err.Error())
		return
	}
	for _, e := range strict {
		o.Errors = append(o.Errors, e.Error())
	}
	legacyscheme.Scheme.Default(versioned)
	if meta.Kind == "Deployment" {
		var d apps.Deployment
		if err := legacyscheme.Scheme.Convert(versioned, &d, nil); err != nil {
			o.Errors = append(o.Errors, err.Error())
			return
		}
		d.Namespace = "x"
		opts := pod.GetValidationOptionsFromPodTemplate(&d.Spec.Template, nil)
		for _, e := range appsval.ValidateDeployment(&d, opts) {
			o.Errors = append(o.Errors, e.Error())
		}
	} else {
		var c core.PersistentVolumeClaim
		if err := legacyscheme.Scheme.Convert(versioned, &c, nil); err != nil {
			o.Errors = append(o.Errors, err.Error())
			return
		}
		c.Namespace = "x"
		for _, e := range corevalidation.ValidatePersistentVolumeClaim(&c, corevalidation.ValidationOptionsForPersistentVolumeClaim(&c, nil)) {
			o.Errors = append(o.Errors, e.Error())
		}
	}
	return
}
