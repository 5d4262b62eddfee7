package main

// #include <stdlib.h>
// #include "calls.h"
import "C"

import "unsafe"

// Appends to a text of the host, which copies at once.
func say(text *C.bench_text, message string) {
	given := C.CString(message)
	defer C.free(unsafe.Pointer(given))
	C.text_say(text, given, C.size_t(len(message)))
}

// Says which phase the backend is in: start-up, deploy, steady, drain, teardown.
func (p *pipeline) phase(name string) {
	given := C.CString(name)
	defer C.free(unsafe.Pointer(given))
	C.host_progress(p.host, given)
}

// Leaves a fact for the record; json is a JSON text.
func (p *pipeline) metric(name, json string) {
	key, value := C.CString(name), C.CString(json)
	defer C.free(unsafe.Pointer(key))
	defer C.free(unsafe.Pointer(value))
	C.host_metric(p.host, key, value)
}
