// Record a file of JSON lines as one experiment: a port of the recorder to Go 1.19 and newer.
// Run:        LANGSMITH_ENDPOINT=... LANGSMITH_API_KEY=... go run level1.go FILE DATASET EXPERIMENT
// Level:      1 of PORTING.md, with Go's standard library alone
// Leaves out: checks, attachments, child_runs, example_id, default names, changed scores, halving, reading back
// Exit code:  0 done, 1 stopped: run the same again, it sends what is missing
package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

type object = map[string]any

var (
	api    = strings.TrimRight(setting("LANGSMITH_ENDPOINT", "https://api.smith.langchain.com"), "/")
	key    = setting("LANGSMITH_API_KEY", "no-key")
	client = &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the key would travel
	}
	gone    = []int{404, 405, 410, 501}
	mayPass = []int{408, 425, 429, 500, 502, 503, 504}
)

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func stop(words string) {
	words = strings.ReplaceAll(words, key, "<key>")
	fmt.Fprintf(os.Stderr, "%s\nRun the same again: it sends what is missing.\n", words)
	os.Exit(1)
}

func has(statuses []int, status int) bool {
	for _, one := range statuses {
		if one == status {
			return true
		}
	}
	return false
}

// ---------------------------------------------------------------- HTTP

// The status and the JSON of an answer that is 2xx or in `fine`; what may pass is sent again for two minutes.
func call(method, path, contentType string, body []byte, fine ...int) (int, any) {
	root := api
	if strings.HasPrefix(path, "/api/v2/") {
		root = strings.TrimSuffix(strings.TrimSuffix(api, "/api/v1"), "/api")
	}
	until, pause := time.Now().Add(2*time.Minute), 250*time.Millisecond
	for {
		status, text, wait, err := once(method, root+path, contentType, body)
		var found any
		parsed := err == nil && (text == "" || parse(text, &found) == nil)
		if err == nil && has(fine, status) {
			return status, nil
		}
		if err == nil && status >= 200 && status < 300 && parsed { // the page of some proxy is no answer
			return status, found
		}
		why := fmt.Sprintf("%d %.500s", status, text)
		if err != nil {
			why = err.Error()
		} else if (status < 200 || status >= 300) && (!has(mayPass, status) || strings.Contains(text, "usage limit")) {
			stop(method + " " + path + ": " + why)
		}
		if wait == 0 {
			wait = pause
		}
		if time.Now().Add(wait).After(until) {
			stop(method + " " + path + ": " + why)
		}
		time.Sleep(wait)
		if pause *= 2; pause > 15*time.Second {
			pause = 15 * time.Second
		}
	}
}

func once(method, address, contentType string, body []byte) (int, string, time.Duration, error) {
	request, err := http.NewRequest(method, address, bytes.NewReader(body))
	if err != nil {
		return 0, "", 0, err
	}
	request.Header.Set("x-api-key", key)
	request.Header.Set("Accept", "application/json")
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, "", 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	seconds, _ := strconv.ParseFloat(answer.Header.Get("Retry-After"), 64)
	return answer.StatusCode, string(text), time.Duration(seconds * float64(time.Second)), err
}

func parse(text string, into any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber() // numbers keep the digits they were written with
	return decoder.Decode(into)
}

func get(path string, query url.Values) []any {
	_, found := call("GET", path+"?"+query.Encode(), "", nil)
	list, _ := found.([]any)
	return list
}

func post(path string, body any, fine ...int) (int, any) {
	return call("POST", path, "application/json", []byte(jcs(body)), fine...)
}

// The experiment of a name: v1, or v2 where v1 is gone.
func findSession(name string) object {
	tail := "/sessions?" + url.Values{"name": {name}}.Encode()
	status, found := call("GET", tail, "", nil, gone...)
	if has(gone, status) {
		_, page := call("GET", "/api/v2"+tail, "", nil)
		found = page.(object)["items"]
	}
	return found.([]any)[0].(object)
}

// A call that changes experiments: v1, or v2 where v1 is gone.
func sessionCall(method, tail string, body object) (int, any) {
	fine := append([]int{409}, gone...)
	status, found := call(method, "/sessions"+tail, "application/json", []byte(jcs(body)), fine...)
	if !has(gone, status) {
		return status, found
	}
	if method == "POST" {
		body["type"] = "EXPERIMENT"
	}
	return call(method, "/api/v2/sessions"+tail, "application/json", []byte(jcs(body)), 409)
}

// ---------------------------------------------------------------- canonical JSON and ids

func jcs(value any) string {
	switch x := value.(type) {
	case object:
		names := make([]string, 0, len(x))
		for name := range x {
			names = append(names, name)
		}
		sort.Slice(names, func(a, b int) bool { return lessUTF16(names[a], names[b]) })
		for at, name := range names {
			names[at] = quoted(name) + ":" + jcs(x[name])
		}
		return "{" + strings.Join(names, ",") + "}"
	case []any:
		items := make([]string, len(x))
		for at, item := range x {
			items[at] = jcs(item)
		}
		return "[" + strings.Join(items, ",") + "]"
	case string:
		return quoted(x)
	case json.Number:
		return number(string(x))
	case bool:
		return strconv.FormatBool(x)
	}
	return "null"
}

func lessUTF16(a, b string) bool {
	left, right := utf16.Encode([]rune(a)), utf16.Encode([]rune(b))
	for at := 0; at < len(left) && at < len(right); at++ {
		if left[at] != right[at] {
			return left[at] < right[at]
		}
	}
	return len(left) < len(right)
}

func quoted(text string) string {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	var made strings.Builder
	made.WriteByte('"')
	for _, letter := range text {
		if escape, found := short[letter]; found {
			made.WriteString(escape)
		} else if letter < 0x20 {
			fmt.Fprintf(&made, `\u%04x`, letter)
		} else {
			made.WriteRune(letter)
		}
	}
	return made.String() + `"`
}

// A number as ECMAScript writes it; integers keep all their digits.
func number(text string) string {
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			return "0"
		}
		return text
	}
	x, _ := strconv.ParseFloat(text, 64)
	if x == 0 {
		return "0"
	}
	if math.Abs(x) >= 1e-6 && math.Abs(x) < 1e21 {
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	made := strconv.FormatFloat(x, 'e', -1, 64)
	return strings.Replace(strings.Replace(made, "e-0", "e-", 1), "e+0", "e+", 1)
}

func uuid5(text string) string {
	namespace, _ := hex.DecodeString("6ba7b8109dad11d180b400c04fd430c8")
	sum := sha1.Sum(append(namespace, text...))
	sum[6], sum[8] = sum[6]&0x0f|0x50, sum[8]&0x3f|0x80
	digits := hex.EncodeToString(sum[:16])
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}

// ---------------------------------------------------------------- times

var timeForm = regexp.MustCompile(
	`^(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d+))?)?(?:[Zz]|([+-]\d\d):?(\d\d)?)?)?$`)

func timeOf(text string) time.Time {
	found := timeForm.FindStringSubmatch(text)
	if found == nil {
		stop("'" + text + "' is no time")
	}
	for at, otherwise := range []string{"", "", "00:00", "00", "", "+00", "00"} {
		if found[at] == "" {
			found[at] = otherwise
		}
	}
	micros := (found[4] + "000000")[:6] // further digits are dropped
	moment, err := time.Parse(time.RFC3339, found[1]+"T"+found[2]+":"+found[3]+"."+micros+found[5]+":"+found[6])
	if err != nil {
		stop(err.Error())
	}
	return moment.UTC()
}

func sent(moment time.Time) string {
	return moment.Format("2006-01-02T15:04:05.000000+00:00")
}

// When a result starts and ends, by its end or its latency.
func times(result object, otherwise time.Time) (time.Time, time.Time) {
	start := otherwise
	if text, found := result["start_time"].(string); found {
		start = timeOf(text)
	}
	if text, found := result["end_time"].(string); found {
		return start, timeOf(text)
	}
	latency, _ := strconv.ParseFloat(fmt.Sprint(result["latency"]), 64)
	seconds, rest := math.Modf(latency)
	rounded := time.Duration(math.RoundToEven(rest*1e6)) * time.Microsecond
	return start, start.Add(time.Duration(seconds)*time.Second + rounded)
}

// ---------------------------------------------------------------- bodies

func without(values object, names ...string) object {
	made := object{}
	for name, value := range values {
		made[name] = value
	}
	for _, name := range names {
		delete(made, name)
	}
	return made
}

func present(values object) object {
	made := object{}
	for name, value := range values {
		if value != nil {
			made[name] = value
		}
	}
	return made
}

func exampleOf(result object, datasetID string) object {
	reference := result["reference_outputs"]
	if reference == nil {
		reference = object{}
	}
	return present(object{
		"id":         uuid5(datasetID + "-" + jcs(result["inputs"]) + "-" + jcs(reference)),
		"dataset_id": datasetID, "inputs": result["inputs"], "outputs": result["reference_outputs"],
		"metadata": result["example_metadata"], "split": result["split"],
	})
}

func runOf(result object, exampleID, sessionID string, opened time.Time, repetitions map[string]int) object {
	own, ownEnd := times(result, opened)
	start, metadata := own, object{}
	if given, found := result["metadata"].(object); found {
		metadata = without(given)
	}
	if own.Before(opened) {
		start = opened
		metadata["original_start_time"], metadata["original_end_time"] = result["start_time"], result["start_time"]
		if result["end_time"] != nil {
			metadata["original_end_time"] = result["end_time"]
		} else if result["latency"] != nil {
			metadata["original_end_time"] = sent(ownEnd)
		}
	}
	text := jcs(without(result, "feedback", "attachments", "split", "example_metadata"))
	name := uuid5(fmt.Sprintf("%s-%s-%s-%d", sessionID, exampleID, text, repetitions[text]))
	repetitions[text]++
	digits := fmt.Sprintf("%012x", start.UnixMilli())
	id := digits[:8] + "-" + digits[8:] + "-7" + name[15:]
	order := strings.NewReplacer("-", "", ":", "", ".", "").Replace(sent(start)[:26])
	kind := result["run_type"]
	if kind == nil {
		kind = "llm"
	}
	label := result["name"]
	if label == nil {
		label = kind
	}
	run := object{
		"id": id, "trace_id": id, "dotted_order": order + "Z" + id, "session_id": sessionID, "reference_example_id": exampleID,
		"name": label, "run_type": kind, "start_time": sent(start), "end_time": sent(start.Add(ownEnd.Sub(own))),
		"inputs": result["inputs"], "outputs": result["outputs"], "error": result["error"], "tags": result["tags"],
		"extra": object{"metadata": metadata},
	}
	return present(run)
}

func feedbackOf(result, run object) []object {
	items, _ := result["feedback"].([]any)
	short, _ := result["feedback"].(object)
	for name, mark := range short {
		field := "score"
		if _, isText := mark.(string); isText {
			field = "value"
		}
		items = append(items, object{"key": name, field: mark})
	}
	var made []object
	counts := map[string]int{}
	for _, one := range items {
		item := present(one.(object))
		if score, found := item["score"].(json.Number); found && strings.ContainsAny(string(score), ".eE") {
			x, _ := strconv.ParseFloat(string(score), 64)
			item["score"] = json.Number(strconv.FormatFloat(x, 'f', 4, 64)) // correctly rounded, ties to even
		}
		name, _ := item["key"].(string)
		if item["error"] == true {
			name += "-error"
		} else if item["score"] == nil && item["value"] == nil && item["comment"] == nil {
			continue
		}
		item["id"] = uuid5(fmt.Sprintf("%s-%s-%d", run["id"], name, counts[name]))
		counts[name]++
		item["run_id"] = run["id"]
		if item["feedback_source"] == nil {
			item["feedback_source"] = object{"type": "api"}
		}
		for _, tie := range []string{"trace_id", "session_id", "start_time"} {
			item[tie] = run[tie]
		}
		made = append(made, item)
	}
	return made
}

// ---------------------------------------------------------------- recording

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: level1 FILE DATASET EXPERIMENT")
		os.Exit(2)
	}
	results, datasetID := read(os.Args[1]), dataset(os.Args[2])
	now := time.Now().UTC()
	earliest, longest, last := time.Time{}, time.Duration(0), now
	for _, result := range results {
		start, end := times(result, time.Time{})
		if !start.IsZero() && (earliest.IsZero() || start.Before(earliest)) {
			earliest = start
		}
		if end.Sub(start) > longest {
			longest = end.Sub(start)
		}
	}
	sessionID, opened := session(datasetID, os.Args[3], earliest, longest, now)
	repetitions := map[string]int{}
	for at := 0; at < len(results); at += 100 {
		examples, runs, feedback := map[string]object{}, []any{}, []object{}
		for _, result := range results[at:min(at+100, len(results))] {
			example := exampleOf(result, datasetID)
			if _, found := examples[example["id"].(string)]; !found {
				examples[example["id"].(string)] = example
			}
			run := runOf(result, example["id"].(string), sessionID, opened, repetitions)
			if end := timeOf(run["end_time"].(string)); end.After(last) {
				last = end
			}
			runs, feedback = append(runs, run), append(feedback, feedbackOf(result, run)...)
		}
		sendExamples(datasetID, examples)
		post("/runs/batch", object{"post": runs}, 409)
		for from := 0; from < len(feedback); from += 100 {
			sendFeedback(feedback[from:min(from+100, len(feedback))])
		}
	}
	sessionCall("PATCH", "/"+sessionID, object{"end_time": sent(last)})
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func read(name string) []object {
	file, err := os.Open(name)
	if err != nil {
		stop(err.Error())
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<26)
	var results []object
	for lines.Scan() {
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" {
			continue
		}
		var result object
		if err := parse(text, &result); err != nil {
			stop(name + ": " + err.Error())
		}
		results = append(results, present(result))
	}
	if err := lines.Err(); err != nil || len(results) == 0 {
		stop(fmt.Sprintf("%s: nothing to record (%v)", name, err))
	}
	return results
}

func dataset(name string) string {
	query := url.Values{"name": {name}}
	found := get("/datasets", query)
	if len(found) == 0 {
		if status, made := post("/datasets", object{"name": name, "data_type": "kv"}, 409); status != 409 {
			return made.(object)["id"].(string)
		}
		found = get("/datasets", query) // somebody else was quicker, or an answer was lost
	}
	return found[0].(object)["id"].(string)
}

func session(datasetID, name string, earliest time.Time, longest time.Duration, now time.Time) (string, time.Time) {
	if window := 20 * time.Hour; now.Sub(earliest) >= window {
		if longest > window || longest < 0 {
			longest = window
		}
		earliest = now.Add(-longest)
	}
	body := object{"id": uuid5(datasetID + "-" + name), "name": name, "reference_dataset_id": datasetID}
	body["start_time"] = sent(earliest.Truncate(time.Second))
	status, found := sessionCall("POST", "", body)
	if status == 409 {
		found = findSession(name)
	}
	made := found.(object)
	if made["reference_dataset_id"] != datasetID {
		fmt.Fprintf(os.Stderr, "The name '%s' is taken by another dataset or project: choose another.\n", name)
		os.Exit(1)
	}
	return made["id"].(string), timeOf(made["start_time"].(string))
}

func sendExamples(datasetID string, examples map[string]object) {
	query := url.Values{"dataset": {datasetID}, "limit": {"100"}}
	for id := range examples {
		query.Add("id", id)
	}
	for attempt := 0; attempt < 2; attempt++ { // again after 409: some were there after all, and none was created
		for _, example := range get("/examples", query) {
			delete(examples, example.(object)["id"].(string))
		}
		missing := []any{}
		for _, example := range examples {
			missing = append(missing, example)
		}
		if len(missing) == 0 {
			return
		}
		if status, _ := post("/examples/bulk", missing, 409); status != 409 {
			return
		}
	}
}

func sendFeedback(items []object) {
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	for _, item := range items {
		text := jcs(item)
		part, _ := writer.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {fmt.Sprintf(`form-data; name="feedback.%s"`, item["id"])},
			"Content-Type":        {fmt.Sprintf("application/json; length=%d", len(text))},
		})
		io.WriteString(part, text)
	}
	writer.Close()
	call("POST", "/runs/multipart", writer.FormDataContentType(), body.Bytes(), 409)
}
