#!/usr/bin/env bash
# The demo as curl sees it. usage: tests/curl/run.sh BINARY
# Prints TAP: "ok N - what" or "not ok N - what", then "1..N"; exits with 1 when anything is not ok.
set -u

binary=$1
folder=$(mktemp -d)
count=0
failed=0
pids=()

cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  rm -rf "$folder"
}
trap cleanup EXIT

report() { # STATUS NAME DETAIL
  count=$((count + 1))
  if [ "$1" = 0 ]; then
    echo "ok $count - $2"
  else
    failed=$((failed + 1))
    echo "not ok $count - $2"
    echo "# $3" | head -c 600
    echo
  fi
}

is() { # NAME WANTED SEEN
  if [ "$2" = "$3" ]; then report 0 "$1" ""; else report 1 "$1" "wanted: $2, seen: $3"; fi
}

has() { # NAME WANTED SEEN
  case "$3" in *"$2"*) report 0 "$1" "" ;; *) report 1 "$1" "wanted: $2, in: $3" ;; esac
}

wait_for() { # FILE TEXT; waits until the text stands in the file, for ten seconds at most
  for _ in $(seq 1000); do
    grep -qF -- "$2" "$1" 2>/dev/null && return 0
    read -rt 0.01 <> <(:)
  done
  echo "# timed out waiting for: $2" >&2
  return 1
}

start() { # NAME ARGS...; sets url
  local name=$1
  shift
  "$binary" demo --http --port 0 "$@" 2>"$folder/$name.log" </dev/null &
  pids+=($!)
  wait_for "$folder/$name.log" "listening on" || exit 1
  url=$(grep -o 'http://127.0.0.1:[0-9]*' "$folder/$name.log" | head -1)
}

open_session() { # sets stream and messages
  stream="$folder/stream.$RANDOM$RANDOM"
  curl -sN "$url/sse" >"$stream" &
  pids+=($!)
  wait_for "$stream" "session_id=" || exit 1
  messages="$url$(sed -n 's/^data: //p' "$stream" | head -1)"
}

status() { curl -s -o "$folder/body" -w '%{http_code}' --max-time 10 "$@"; }
post() { status -H 'Content-Type: application/json' -d "$1" "$messages"; }

start plain
is "healthz answers 200" 200 "$(status "$url/healthz")"
is "readyz answers 200" 200 "$(status "$url/readyz")"
port=${url##*:}
is "::1 answers too, where there is one" 200 "$(if [ -e /proc/net/if_inet6 ] && grep -q ' lo$' /proc/net/if_inet6; then status -g "http://[::1]:$port/healthz"; else echo 200; fi)"

open_session
has "the stream opens with retry" "retry: 500" "$(cat "$stream")"
initialize='{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}'
is "initialize is accepted" 202 "$(post "$initialize")"
is "with the body Accepted" "Accepted" "$(cat "$folder/body")"
wait_for "$stream" '"id":0'
has "and answered on the stream, with its id" '"id":0,"result"' "$(cat "$stream")"
has "with the version asked for" '"protocolVersion":"2025-06-18"' "$(cat "$stream")"
is "initialized is accepted" 202 "$(post '{"jsonrpc":"2.0","method":"notifications/initialized"}')"
is "tools/list is accepted" 202 "$(post '{"jsonrpc":"2.0","id":"list","method":"tools/list"}')"
wait_for "$stream" '"id":"list"'
has "and lists echo" '"name":"echo"' "$(cat "$stream")"
is "add is accepted" 202 "$(post '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"add","arguments":{"a":2,"b":40}}}')"
wait_for "$stream" '"id":2'
has "and adds" '"text":"42"' "$(cat "$stream")"
is "a bad argument is accepted" 202 "$(post '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"add","arguments":{"a":"two","b":40}}}')"
wait_for "$stream" '"id":3'
has "and is the tool's error" '"isError":true' "$(grep -F '"id":3' "$stream")"
is "server/discover is accepted" 202 "$(post '{"jsonrpc":"2.0","id":4,"method":"server/discover"}')"
wait_for "$stream" '"id":4'
has "and answered -32601" '-32601' "$(grep -F '"id":4' "$stream")"
is "slow is accepted" 202 "$(post '{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"slow","arguments":{"seconds":0.1,"steps":2},"_meta":{"progressToken":"p"}}}')"
wait_for "$stream" '"id":5'
is "and says twice how far it is" 2 "$(grep -c '"progressToken":"p"' "$stream")"
is "/messages without its slash, and sessionId, will do" 202 "$(status -H 'Content-Type: application/json' -d '{"jsonrpc":"2.0","id":6,"method":"ping"}' "$(echo "$messages" | sed 's,/messages/?session_id,/messages?sessionId,')")"
wait_for "$stream" '"id":6'
has "ping is answered" '"id":6,"result":{}' "$(cat "$stream")"

is "bad JSON is 400" 400 "$(post '{')"
has "with the JSON-RPC error as the body" '-32700' "$(cat "$folder/body")"
is "an invalid request is 400" 400 "$(post '{"jsonrpc":"2.0","id":true,"method":"ping"}')"
has "with its code" '-32600' "$(cat "$folder/body")"
is "an array is 400 in this version" 400 "$(post '[{"jsonrpc":"2.0","id":7,"method":"ping"}]')"
is "another content type is 415" 415 "$(status -d '{}' "$messages")"
is "no session id is 400" 400 "$(status -H 'Content-Type: application/json' -d '{}' "$url/messages/")"
is "a malformed session id is 400" 400 "$(status -H 'Content-Type: application/json' -d '{}' "$url/messages/?session_id=..")"
is "an unknown session id is 404" 404 "$(status -H 'Content-Type: application/json' -d '{}' "$url/messages/?session_id=0123456789abcdef0123456789abcdef")"
is "a body over the limit is 413" 413 "$(head -c 5000000 /dev/zero | status -H 'Content-Type: application/json' --data-binary @- "$messages")"
is "POST /sse is 405" 405 "$(status -d '{}' "$url/sse")"
has "and says what is allowed" "GET" "$(curl -si -d '{}' "$url/sse" | grep -i '^allow:')"
for path in / /sse/ /sse/.well-known/openid-configuration /.well-known/oauth-protected-resource /ssex; do
  is "$path is 404" 404 "$(status "$url$path")"
done
has "and names what there is" "/sse" "$(cat "$folder/body")"
is "a strange Host is 403" 403 "$(status -H 'Host: evil.example' "$url/sse")"
has "and is told the flag" "--allow-host" "$(cat "$folder/body")"
is "a strange Origin is 403" 403 "$(status -H 'Origin: http://evil.example' "$url/sse")"

start guarded --allow-origin https://app.example
has "a preflight of a named origin is allowed" "https://app.example" "$(curl -si -X OPTIONS -H 'Origin: https://app.example' -H 'Access-Control-Request-Method: GET' "$url/sse" | grep -i access-control-allow-origin)"
MCP_HTTP_TOKEN=s3cret start token
is "without the token it is 401" 401 "$(status "$url/sse")"
is "with the token it streams" 200 "$(timeout 5 curl -sN -o "$folder/body" -w '%{http_code}' --max-time 1 -H 'Authorization: Bearer s3cret' "$url/sse")"
is "health needs no token" 200 "$(status "$url/healthz")"
is "healthcheck says so with 0" 0 "$("$binary" healthcheck "$url" >/dev/null 2>&1; echo $?)"

is "a taken port is status 1" 1 "$("$binary" demo --http --port "${url##*:}" >"$folder/body" 2>&1 </dev/null; echo $?)"
has "and says what to do" "is taken: set MCP_HTTP_PORT" "$(cat "$folder/body")"
is "an unknown mode is status 2" 2 "$(MCP_TRANSPORT=htpp "$binary" demo >"$folder/body" 2>&1 </dev/null; echo $?)"
has "and names the variable" "MCP_TRANSPORT" "$(cat "$folder/body")"
is "no arguments at all is status 2" 2 "$("$binary" >"$folder/body" 2>&1 </dev/null; echo $?)"

echo "1..$count"
echo "$((count - failed)) passed, $failed failed"
[ "$failed" = 0 ]
