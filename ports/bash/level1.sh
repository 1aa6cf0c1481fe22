#!/usr/bin/env bash
# Record a file of JSON lines as one experiment: a port of the recorder to Bash with curl, jq, awk and sha1sum.
# Run:        LANGSMITH_ENDPOINT=... LANGSMITH_API_KEY=... bash level1.sh FILE DATASET EXPERIMENT
# Level:      1 of PORTING.md, for flat results; jq 1.6 and newer
# Leaves out: checks, line breaks in feedback keys, attachments, child_runs, example_id, default names, changed scores, halving, reading back
# Exit code:  0 done, 1 stopped: run the same again, it sends what is missing
set -euo pipefail
export LC_ALL=C.UTF-8

[ $# = 3 ] || { echo "usage: level1.sh FILE DATASET EXPERIMENT" >&2; exit 2; }
file=$1 dataset_name=$2 name=$3
api=${LANGSMITH_ENDPOINT:-https://api.smith.langchain.com} key=${LANGSMITH_API_KEY:-no-key}
api=${api%/} root=${api%/api/v1} root=${root%/api}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'x-api-key: %s\nAccept: application/json\n' "$key" >"$work/headers" # a file, for arguments can be seen by others

stop() {
  printf '%s\nRun the same again: it sends what is missing.\n' "${1//"$key"/<key>}" >&2
  exit 1
}

# call "FINE STATUSES" METHOD PATH [curl arguments]: sets `status`, and the body in $work/answer.
# What may pass is sent again for two minutes; the page of some proxy is no answer.
call() {
  local fine=" $1 " method=$2 path=$3 base=$api pause=0.25 wait until=$((SECONDS + 120)) why
  shift 3
  [[ $path == /api/v2/* ]] && base=$root
  while :; do
    : >"$work/answer"
    if status=$(curl -sS --noproxy 127.0.0.1,localhost -m 60 -X "$method" -H "@$work/headers" -D "$work/head" \
      -o "$work/answer" -w '%{http_code}' "$@" "$base$path" 2>"$work/error"); then
      [[ $fine == *" $status "* ]] && return
      # JSON, and all of it: without a Content-Length, curl does not notice that an answer was cut, and jq has to look.
      [[ $status == 2* && $(head -c 1 "$work/answer") == [{[] ]] && { grep -qi '^content-length:' "$work/head" ||
        jq empty "$work/answer" 2>/dev/null; } && return
      why="$status $(head -c 500 "$work/answer")"
      if [[ $status != 2* ]]; then
        [[ " 408 425 429 500 502 503 504 " == *" $status "* ]] || stop "$method $path: $why"
        [[ $why == *"usage limit"* ]] && stop "$method $path: $why"
      fi
      wait=$(sed -n 's/^[Rr]etry-[Aa]fter: *\([0-9][0-9]*\)[[:space:]]*$/\1/p' "$work/head" | tail -1)
    else
      why=$(cat "$work/error") wait=
    fi
    wait=${wait:-$pause}
    ((SECONDS + ${wait%.*} <= until)) || stop "$method $path: $why"
    sleep "$wait"
    pause=$(awk -v p="$pause" 'BEGIN { p *= 2; print (p > 15 ? 15 : p) }')
  done
}

send() { # send "FINE STATUSES" METHOD PATH: standard input is the JSON
  cat >"$work/body"
  call "$1" "$2" "$3" -H 'Content-Type: application/json' --data-binary "@$work/body"
}

find_sessions() { # NAME: those of a name, by v1, or by v2 where v1 is gone
  call "404 405 410 501" GET /sessions -G --data-urlencode "name=$1"
  [[ " 404 405 410 501 " == *" $status "* ]] || return 0
  call "" GET /api/v2/sessions -G --data-urlencode "name=$1"
}

session_call() { # METHOD TAIL JSON: changes experiments, by v1, or by v2 where v1 is gone
  send "409 404 405 410 501" "$1" "/sessions$2" <<<"$3"
  [[ " 404 405 410 501 " == *" $status "* ]] || return 0
  local type='{}'
  [ "$1" = POST ] && type='{"type":"EXPERIMENT"}'
  send 409 "$1" "/api/v2/sessions$2" < <(jq -c ". + $type" <<<"$3")
}

# uuid5s: for each line of standard input the version 5 UUID of it, all by one call of sha1sum
uuid5s() {
  local n=0 line names=()
  rm -rf "$work/texts"
  mkdir "$work/texts"
  while IFS= read -r line; do
    names+=("$((n += 1))")
    printf '\x6b\xa7\xb8\x10\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8%s' "$line" >"$work/texts/$n"
  done
  [ $n = 0 ] || (cd "$work/texts" && sha1sum "${names[@]}") | awk '{
    variant = substr("89ab89ab89ab89ab", index("0123456789abcdef", substr($1, 17, 1)), 1)
    print substr($1, 1, 8) "-" substr($1, 9, 4) "-5" substr($1, 14, 3) "-" variant substr($1, 18, 3) "-" substr($1, 21, 12)
  }'
}

# jq 1.6 keeps 17 digits of a number, so integers of 16 and more travel as a text that begins with U+0000 U+0001.
# `jcs` writes RFC 8785 canonical JSON; times are microseconds since 1970.
cat >"$work/lib.jq" <<'JQ'
def marked: gsub("(?<text>\"(?:[^\"\\\\]|\\\\.)*\")|(?<whole>-?[0-9]{16,})(?![0-9.eE])|(?<other>-?[0-9][0-9.eE+-]*)";
  if .text then .text elif .whole then "\"\\u0000\\u0001\(.whole)\"" else .other end);
def number: tostring
  | capture("^(?<sign>-?)(?<whole>[0-9]+)(?:\\.(?<part>[0-9]+))?(?:[eE](?<power>[+-]?[0-9]+))?$")
  | .sign as $sign | ((.power // "0") | ltrimstr("+") | tonumber) as $power
  | ((.whole + (.part // "")) | sub("^0+"; "")) as $all | ($all | sub("0+$"; "")) as $digits
  | (($all | length) - ((.part // "") | length) + $power) as $point | ($digits | length) as $n
  | if $digits == "" then "0"
    elif $point > 0 and $point <= 21 then
      $sign + (if $n <= $point then $digits + ("0" * ($point - $n) // "") else $digits[:$point] + "." + $digits[$point:] end)
    elif $point > -6 and $point <= 0 then $sign + "0." + ("0" * (0 - $point) // "") + $digits
    else $sign + $digits[:1] + (if $n > 1 then "." + $digits[1:] else "" end) + "e"
      + (if $point > 0 then "+" else "-" end) + (($point - 1) | if . < 0 then -. else . end | tostring) end;
def units: [explode[] | if . < 65536 then [.] else [(. - 65536) / 1024 + 55296 | floor, (. - 65536) % 1024 + 56320] end] | add // [];
def text: "\"" + (split("\u007f") | map(tojson | .[1:-1]) | join("\u007f")) + "\""; # jq 1.6 escapes U+007F
def jcs: if type == "object" then "{" + ([to_entries | sort_by(.key | units)[] | (.key | text) + ":" + (.value | jcs)] | join(",")) + "}"
  elif type == "array" then "[" + (map(jcs) | join(",")) + "]"
  elif type == "number" then number
  elif type == "string" then (if startswith("\u0000\u0001") then .[2:] else text end) else tojson end;
def present: with_entries(select(.value != null));
def clock: capture("^(?<date>[0-9-]{10})(?:[Tt ](?<hm>[0-9]{2}:[0-9]{2})(?::(?<s>[0-9]{2})(?:[.,](?<f>[0-9]+))?)?(?:[Zz]|(?<sign>[+-])(?<oh>[0-9]{2}):?(?<om>[0-9]{2})?)?)?$")
  | ("\(.date)T\(.hm // "00:00"):\(.s // "00")Z" | fromdateiso8601)
    - (if .sign == "-" then -1 else 1 end) * (((.oh // "0") | tonumber) * 3600 + ((.om // "0") | tonumber) * 60)
  | . * 1000000;
def micros: clock + ((capture("[.,](?<f>[0-9]+)") // {f: "0"}) | ((.f + "000000")[:6] | tonumber));
def pad($n): tostring | ("0" * ($n - length) // "") + .;
def sent: (. / 1000000 | floor) as $s | ($s | strftime("%Y-%m-%dT%H:%M:%S")) + "." + (. - $s * 1000000 | pad(6)) + "+00:00";
def half_even: floor as $low | if . - $low > 0.5 or (. - $low == 0.5 and $low % 2 != 0) then $low + 1 else $low end;
def took($start): if .end_time then (.end_time | micros) - $start else (.latency // 0 | floor) as $seconds
  | $seconds * 1000000 + ((.latency // 0) - $seconds | . * 1000000 | half_even) end;
def rounded: . as $x | ($x * 134217729) as $c | ($c - ($c - $x)) as $high | ($x - $high) as $low
  | ($high * 10000 + $low * 10000) as $product | ($high * 10000 - $product + $low * 10000) as $error # of the product
  | ($product | floor) as $floor | ($product - $floor) as $part
  | if $part > 0.5 or ($part == 0.5 and ($error > 0 or ($error == 0 and $floor % 2 != 0))) then $floor + 1 else $floor end
  | . / 10000;
def hex($n): [range($n; 0; -1) as $i | (. / pow(16; $i - 1) | floor) % 16 | "0123456789abcdef"[.:. + 1]] | join("");
JQ
run_jq() { jq -L "$work" "$@"; }
sed -i '1i # the rules of PORTING.md' "$work/lib.jq"

run_jq -R -c 'include "lib"; ltrimstr("\ufeff") | select(test("[^ \t\r]")) | marked | fromjson | present' "$file" >"$work/results"
[ -s "$work/results" ] || stop "$file: nothing to record"
run_jq -s -e 'all(.[].feedback // [] | if type == "object" then keys[] else .[].key end | explode[]; . != 0 and . != 10)' \
  "$work/results" >/dev/null || { echo "A feedback key holds a line break: this port cannot record it." >&2 && exit 1; }

dataset() {
  call "" GET "/datasets" -G --data-urlencode "name=$dataset_name"
  jq -r '.[0].id // empty' "$work/answer"
}
dataset_id=$(dataset) || exit 1
if [ -z "$dataset_id" ]; then
  send 409 POST /datasets < <(jq -n -c --arg name "$dataset_name" '{$name, data_type: "kv"}')
  dataset_id=$(dataset) || exit 1
fi

now=$(date +%s%6N)
start_time=$(run_jq -s -r --argjson now "$now" 'include "lib";
  map((if .start_time then .start_time | micros else null end) as $start | {$start, took: took($start)})
  | (map(.start | values) | min) as $first | 72000000000 as $window
  | if $first > $now - $window then $first else $now - ([(map(.took) | max), $window] | min) end
  | (. / 1000000 | floor) * 1000000 | sent' "$work/results")
session_id=$(uuid5s <<<"$dataset_id-$name")
session_call POST "" "$(jq -n -c --arg id "$session_id" --arg name "$name" --arg start_time "$start_time" \
  --arg reference_dataset_id "$dataset_id" '{$id, $name, $start_time, $reference_dataset_id}')"
[ "$status" = 409 ] && find_sessions "$name"
jq -c '(.items? // .) | if type == "array" then .[0] else . end' "$work/answer" >"$work/session"
[ "$(jq -r .reference_dataset_id "$work/session")" = "$dataset_id" ] ||
  { echo "The name '$name' is taken by another dataset or project: choose another." >&2 && exit 1; }
session_id=$(jq -r .id "$work/session")

# What the ids are made of, line by line, then the ids, then the bodies; only the sums are not jq's work.
run_jq -r --arg d "$dataset_id" 'include "lib"; "\($d)-\(.inputs | jcs)-\(.reference_outputs // {} | jcs)"' "$work/results" |
  uuid5s >"$work/example_ids"
run_jq -n -r --slurpfile results "$work/results" --rawfile ids "$work/example_ids" --arg session "$session_id" 'include "lib";
  ($ids | split("\n")) as $ids | foreach range($results | length) as $i ({};
    ($results[$i] | del(.feedback, .attachments, .split, .example_metadata) | jcs) as $text | .[$text] += 1
    | .line = "\($session)-\($ids[$i])-\($text)-\(.[$text] - 1)"; .line)' | uuid5s >"$work/run_names"
run_jq -n -c --slurpfile results "$work/results" --slurpfile session "$work/session" --rawfile examples "$work/example_ids" \
  --rawfile names "$work/run_names" 'include "lib";
  ($examples | split("\n")) as $examples | ($names | split("\n")) as $names | $session[0] as $session
  | ($session.start_time | micros) as $opened | range($results | length) as $i | $results[$i]
  | (if .start_time then .start_time | micros else $opened end) as $own | ([$own, $opened] | max) as $start | took($own) as $took
  | (if $own < $opened then {original_start_time: .start_time, original_end_time:
      (.end_time // (if .latency then $own + $took | sent else .start_time end))} else {} end) as $moved
  | ($start / 1000 | floor | hex(12)) as $ms | "\($ms[:8])-\($ms[8:])-7\($names[$i][15:])" as $id
  | (.run_type // "llm") as $type | {trace_id: $id, session_id: $session.id, start_time: ($start | sent)} as $ties
  | {example: ({id: $examples[$i], dataset_id: $session.reference_dataset_id, inputs, outputs: .reference_outputs,
       metadata: .example_metadata, split} | present),
     run: ({$id, dotted_order: (($start | sent)[:26] | gsub("[-:.]"; "") + "Z" + $id), reference_example_id: $examples[$i],
       name: (.name // $type), run_type: $type, end_time: ($start + $took | sent), inputs, outputs, error, tags,
       extra: {metadata: ((.metadata // {}) + $moved)}} + $ties | present),
     feedback: [((.feedback // []) | if type == "object" then to_entries
       | map({key} + (if (.value | type == "string" and (startswith("\u0000\u0001") | not)) then {value} else {score: .value} end)) else . end)[]
       | present | select(.error or ([.score, .value, .comment] | any(. != null)))
       | if .score | type == "number" then .score |= rounded else . end
       | {feedback_source: {type: "api"}} + . + {run_id: $id} + $ties]}' "$work/results" >"$work/all"
run_jq -r '.run.id as $id | foreach .feedback[] as $item ({counts: {}};
  (if $item.error then "\($item.key)-error" else $item.key end) as $key | .counts[$key] += 1
  | .line = "\($id)-\($key)-\(.counts[$key] - 1)"; .line)' "$work/all" | uuid5s >"$work/feedback_ids"
run_jq -n -c --slurpfile all "$work/all" --rawfile ids "$work/feedback_ids" '($ids | split("\n")) as $ids
  | foreach $all[] as $one ({at: 0}; .at as $at | .made = ($one | .feedback |= [to_entries[] | .value + {id: $ids[$at + .key]}])
      | .at += ($one.feedback | length); .made)' >"$work/made"

for ((at = 1; at <= $(wc -l <"$work/made"); at += 100)); do
  sed -n "$at,$((at + 99))p" "$work/made" >"$work/batch"
  jq -s -c 'reduce .[].example as $e ({}; .[$e.id] //= $e)' "$work/batch" >"$work/examples"
  for _ in 1 2; do # the second time after 409: some were there after all, and none was created
    mapfile -t ids < <(jq -r 'keys[] | "-d", "id=\(.)"' "$work/examples")
    call "" GET /examples -G -d limit=100 -d "dataset=$dataset_id" "${ids[@]}"
    run_jq -r --slurpfile there "$work/answer" 'include "lib"; ($there[0] | map({(.id): true}) | add // {}) as $known
      | [.[] | select($known[.id] | not)] | jcs' "$work/examples" >"$work/missing"
    [ "$(cat "$work/missing")" != "[]" ] || break
    send 409 POST /examples/bulk <"$work/missing"
    [ "$status" = 409 ] || break
  done
  send 409 POST /runs/batch < <(run_jq -s -r 'include "lib"; {post: map(.run)} | jcs' "$work/batch")
  run_jq -c '.feedback[]' "$work/batch" >"$work/feedback"
  for ((from = 1; from <= $(wc -l <"$work/feedback"); from += 100)); do
    sed -n "$from,$((from + 99))p" "$work/feedback" | run_jq -j 'include "lib"; .id as $id | jcs
      | "--ports-bash\r\nContent-Disposition: form-data; name=\"feedback.\($id)\"\r\n"
        + "Content-Type: application/json; length=\(utf8bytelength)\r\n\r\n\(.)\r\n"' >"$work/parts"
    printf -- '--ports-bash--\r\n' >>"$work/parts"
    call 409 POST /runs/multipart -H 'Content-Type: multipart/form-data; boundary=ports-bash' --data-binary "@$work/parts"
  done
done

end_time=$(jq -s -r --arg now "$(date -u +%Y-%m-%dT%H:%M:%S.%6N+00:00)" '[.[].run.end_time, $now] | max' "$work/made")
session_call PATCH "/$session_id" "{\"end_time\":\"$end_time\"}"
