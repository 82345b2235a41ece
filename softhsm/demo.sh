#!/usr/bin/env bash
# A demonstration: one customer, one access token, two resource servers.
#
#   softhsm/demo.sh [--keep] [--dir DIR]
#
#   --keep      leave the daemon running and print further curl lines
#   --dir DIR   directory of the demonstration (target/demo); an earlier demonstration there is removed first
#   --help      this text
#
# CHANCERY_BIN names the program; without it `cargo build` builds one. Installs missing packages as root; another user gets
# the line to run, and status 69. Changes nothing else outside DIR.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
repository=$(dirname -- "$here")
jwt=$here/jwt.sh
dir=$repository/target/demo
keep=no

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
while [ $# -gt 0 ]; do
  case $1 in
    --keep) keep=yes ;;
    --dir) [ $# -ge 2 ] || { usage >&2; exit 64; }; dir=$2; shift ;;
    --dir=*) dir=${1#--dir=} ;;
    --help | -h) usage; exit 0 ;;
    *) echo "demo.sh: $1: no such option" >&2; usage >&2; exit 64 ;;
  esac
  shift
done

step() { printf '\n== %s\n' "$*"; }
say() { printf '   %s\n' "$*"; }
good() { printf '   ok: %s\n' "$*"; }
run() { printf '   $ %s\n' "chancery ${*:2}" | sed "s|$dir/||g"; "$@" 2>&1 | sed 's/^/     /'; }
die() {
  printf '\ndemo.sh: %s\n' "$1" >&2
  if [ -s "$dir/serve.log" ]; then
    printf 'The daemon said last (%s):\n' "$dir/serve.log" >&2
    tail -n 15 "$dir/serve.log" >&2
  fi
  exit "${2:-1}"
}

# ---------------------------------------------------------------------------------------------------------------------
step "1. What it needs"

"$here/need.sh" softhsm2-util=softhsm2 openssl=openssl curl=curl jq=jq xxd=xxd cc=build-essential
if [ -z "${CHANCERY_BIN:-}" ]; then
  command -v cargo > /dev/null || die "cargo is missing: install Rust as https://rustup.rs says, then start again" 69
  say "building (some minutes the first time)"
  (cd "$repository" && cargo build --locked --quiet --bin chancery)
  CHANCERY_BIN=$(cd "$repository" && cargo metadata --locked --format-version 1 --no-deps | jq -r .target_directory)/debug/chancery
fi
[ -x "$CHANCERY_BIN" ] || die "CHANCERY_BIN: expected a program, found nothing to run at $CHANCERY_BIN" 66
chancery=$(cd -- "$(dirname -- "$CHANCERY_BIN")" && pwd -P)/$(basename -- "$CHANCERY_BIN")
module=
for module in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so /usr/lib64/softhsm/libsofthsm2.so; do
  [ ! -e "$module" ] || break
done
[ -e "$module" ] || die "expected SoftHSM's libsofthsm2.so below /usr/lib, found none: apt-get install softhsm2" 69

umask 077
mkdir -p -- "$dir"
dir=$(cd -- "$dir" && pwd -P)
case $dir in *[!A-Za-z0-9._/+-]*) die "--dir: expected letters, digits and ._/+- only, found $dir" 64 ;; esac

stop() { # PID: SIGTERM, then the time to drain, then SIGKILL
  kill -TERM "$1" 2> /dev/null || return 0
  for _ in $(seq 350); do
    kill -0 "$1" 2> /dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$1" 2> /dev/null || true
}

# Ends and removes an earlier demonstration, but nothing else.
if [ -e "$dir/.chancery-demo" ]; then
  earlier=$(cat "$dir/serve.pid" 2> /dev/null || true)
  if [ -r "/proc/${earlier:-none}/cmdline" ] && tr '\0' ' ' < "/proc/$earlier/cmdline" | grep -qF -- "$dir/chancery.toml"; then
    say "stopping the daemon of an earlier run (process $earlier)"
    stop "$earlier"
  fi
  find "$dir" -mindepth 1 -delete
elif [ -n "$(ls -A -- "$dir")" ]; then
  die "--dir: $dir holds something that is no demonstration; give another directory" 73
fi
touch "$dir/.chancery-demo"
cd "$dir"
mkdir secrets answers documents

"$here/token.sh" "$dir/softhsm" chancery-demo
export SOFTHSM2_CONF=$dir/softhsm/softhsm2.conf
good "a SoftHSM token in $dir/softhsm, its PIN in a file for its owner alone"

free_port() {
  local port
  while :; do
    port=$((RANDOM % 12000 + 20000))
    [ "$port" != "${1:-}" ] || continue
    (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || { echo "$port"; return; }
  done
}
port=$(free_port)
operations_port=$(free_port "$port")
issuer=http://127.0.0.1:$port
operations=http://127.0.0.1:$operations_port

# A generated secret of 256 bits for each caller: in a curl configuration, so that it is in no command line; the server gets
# its SHA-256.
secret_of() { # CLIENT_ID
  local secret
  secret=$(openssl rand -hex 32)
  printf 'user = "%s:%s"\n' "$1" "$secret" > "secrets/$1.curl"
  printf %s "$secret" | sha256sum | cut -d' ' -f1
}

# The key of the bank's front server; Chancery gets the public key.
"$jwt" key secrets/front-server.pem
"$jwt" jwk secrets/front-server.pem front-2025 | jq '{keys: [.]}' > front-server.jwks

cat > chancery.toml << CONFIGURATION
version = 1
profile = "generic"
issuer  = "$issuer"

[http]
listen            = "127.0.0.1:$port"
operations_listen = "127.0.0.1:$operations_port"

[hsm]
module   = "$module"
token    = "pkcs11:token=chancery-demo"
pin_file = "$dir/softhsm/pin"

[audit]
directory = "$dir/audit"
origin    = "bank.example/audit/demo"

[store]
url = "sqlite://$dir/state.db"

# One purpose and one algorithm for each key.
[[keys]]
purpose   = "introspection"
algorithm = "ES256"

[[keys]]
purpose   = "introspection"
algorithm = "PS256"
rsa_bits  = 3072

[[keys]]
purpose   = "access-token"
algorithm = "ES256"

[[keys]]
purpose   = "metadata"
algorithm = "ES256"

[[keys]]
purpose   = "audit-checkpoint"
algorithm = "ES256"

# The front server signs customers in and asks for their consent; this is the grant that it issues.
[[grant_issuers]]
issuer                      = "https://login.bank.example"
jwks_file                   = "$dir/front-server.jwks"
resources                   = ["https://signing.example", "https://payments.bank.example"]
authorization_details_types = ["credential", "payment_initiation"]

[[resource_servers]]
client_id                         = "signing-service"
resource                          = "https://signing.example"
token_endpoint_auth_method        = "client_secret_basic"
client_secret_sha256              = "$(secret_of signing-service)"
introspection_signed_response_alg = "PS256"
require_signed_response           = true
scopes                            = ["sign"]
authorization_details_types       = ["credential"]
claims                            = ["sub", "acr", "amr", "auth_time"]

[[resource_servers]]
client_id                         = "payments-api"
resource                          = "https://payments.bank.example"
token_endpoint_auth_method        = "client_secret_basic"
client_secret_sha256              = "$(secret_of payments-api)"
introspection_signed_response_alg = "ES256"
require_signed_response           = true
access_token_formats              = ["opaque", "at+jwt"]
access_token_signing_alg          = "ES256"
scopes                            = ["payments:initiate", "payments:status"]
authorization_details_types       = ["payment_initiation"]
claims                            = ["client_id", "acr", "auth_time"]

[[resource_servers]]
client_id                         = "insurance-api"
resource                          = "https://insurance.example"
token_endpoint_auth_method        = "client_secret_basic"
client_secret_sha256              = "$(secret_of insurance-api)"
introspection_signed_response_alg = "ES256"
require_signed_response           = true
scopes                            = ["policies:read"]

[[clients]]
client_id                   = "bank-front"
token_endpoint_auth_method  = "client_secret_basic"
client_secret_sha256        = "$(secret_of bank-front)"
grant_types                 = ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
resources                   = ["https://signing.example", "https://payments.bank.example"]
scope                       = "sign payments:initiate payments:status"
authorization_details_types = ["credential", "payment_initiation"]
access_token_format         = "opaque"
access_token_lifetime       = "5m"

[[clients]]
client_id                   = "batch-payments"
token_endpoint_auth_method  = "client_secret_basic"
client_secret_sha256        = "$(secret_of batch-payments)"
grant_types                 = ["client_credentials"]
resources                   = ["https://payments.bank.example"]
scope                       = "payments:status"
access_token_format         = "at+jwt"
access_token_lifetime       = "1h"
CONFIGURATION
say "\$ chancery config check --config chancery.toml"
"$chancery" config check --config "$dir/chancery.toml" > config-check.txt 2>&1 || { cat config-check.txt; die "the configuration has mistakes (above)"; }
good "a configuration in $dir/chancery.toml, secrets in $dir/secrets"

# ---------------------------------------------------------------------------------------------------------------------
step "2. Keys, log, daemon"

run "$chancery" key generate --config "$dir/chancery.toml" || die "no keys were made"
run "$chancery" audit init --config "$dir/chancery.toml" | tee init.txt || die "no log was made"
# The auditor pins the log's verifier key when the log is made, not from an export.
grep -oE 'bank\.example/audit/demo\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+' init.txt > log.vkey || die "audit init printed no verifier key"
good "the auditor keeps the log's verifier key from its first day (log.vkey)"

pid=
finish() {
  local status=$?
  if [ -n "$pid" ] && { [ "$keep" = no ] || [ "$status" -ne 0 ]; }; then
    stop "$pid"
  fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

setsid "$chancery" serve --config "$dir/chancery.toml" < /dev/null > serve.log 2>&1 &
pid=$!
echo "$pid" > serve.pid
say "\$ chancery serve --config chancery.toml    (process $pid, its log in serve.log)"
for _ in $(seq 300); do
  kill -0 "$pid" 2> /dev/null || { wait "$pid" && status=0 || status=$?; pid=; die "the daemon ended with status $status"; }
  ready=$(curl -sS -o ready.json -w '%{http_code}' "$operations/readyz" 2> /dev/null) || ready=
  [ "$ready" != 200 ] || break
  sleep 0.1
done
[ "$ready" = 200 ] || die "the daemon was not ready after 30 seconds"
good "ready: every key signed, and the signature verified"

# ---------------------------------------------------------------------------------------------------------------------
# ask OUT CALLER URL [curl options]: one POST as CALLER; the body goes to OUT, status and type to $status and $type.
ask() {
  local out=$1 caller=$2 url=$3 result
  shift 3
  result=$(curl -sS -K "secrets/$caller.curl" -o "$out" -w '%{http_code} %{content_type}' "$@" "$url") || die "no answer from $url"
  status=${result%% *}
  type=${result#* }
}
expect() { # WHAT FILTER FILE [jq options]
  jq -e "${@:4}" "$2" "$3" > /dev/null || die "expected: $1; found in $dir/$3: $(jq -c . "$3")"
}
decode() { "$jwt" header "$(cat "$1.jwt")" > "$1.header.json"; "$jwt" claims "$(cat "$1.jwt")" > "$1.claims.json"; }
verified() { # NAME ALG TYP: checks with openssl that a key of the JWKS signed it, in this way, as this kind
  "$jwt" verify jwks.json "$(cat "$1.jwt")" || die "$1.jwt: openssl does not verify the signature"
  decode "$1"
  expect "$2 and $3" '.alg == $alg and .typ == $typ' "$1.header.json" --arg alg "$2" --arg typ "$3"
  expect "issuer $issuer" '.iss == $iss' "$1.claims.json" --arg iss "$issuer"
}
introspect() { # NAME CALLER ALG TOKENFILE: the signed answer for CALLER goes to answers/NAME.jwt
  ask "answers/$1.jwt" "$2" "$introspection" -H 'Accept: application/token-introspection+jwt' --data-urlencode "token@$4"
  [ "$status $type" = "200 application/token-introspection+jwt" ] || die "expected a signed answer, found $status $type: $(cat "answers/$1.jwt")"
  verified "answers/$1" "$3" token-introspection+jwt
  expect "an answer for $2 alone" '.aud == $aud' "answers/$1.claims.json" --arg aud "$2"
}
beside() { # TITLE FILE TITLE FILE
  local width=132
  [ ! -t 1 ] || width=$(tput cols 2> /dev/null || echo 132)
  { echo "$1"; jq --indent 1 . "$2"; } > left.txt
  { echo "$3"; jq --indent 1 . "$4"; } > right.txt
  if [ "$width" -ge 130 ]; then
    pr -m -t -w 128 left.txt right.txt | expand | sed 's/^/   /; s/ *$//'
  else
    sed 's/^/   /' left.txt right.txt
  fi
  rm left.txt right.txt
}

step "3. One token for two resource servers"

curl -sS --fail-with-body -o metadata.json "$issuer/.well-known/oauth-authorization-server" || die "no metadata: $(cat metadata.json)"
expect "metadata of $issuer" '.issuer == $iss' metadata.json --arg iss "$issuer"
introspection=$(jq -r .introspection_endpoint metadata.json)
token_endpoint=$(jq -r .token_endpoint metadata.json)
revocation=$(jq -r .revocation_endpoint metadata.json)
curl -sS --fail-with-body -o jwks.json "$(jq -r .jwks_uri metadata.json)" || die "no keys: $(cat jwks.json)"
jq -r .signed_metadata metadata.json > answers/metadata.jwt
"$jwt" verify jwks.json "$(cat answers/metadata.jwt)" || die "signed_metadata: openssl does not verify the signature"
good "RFC 8414 metadata; its signed_metadata verified with openssl"

echo "The contract." > documents/contract.txt
echo "The general terms." > documents/terms.txt
digest() { openssl dgst -sha256 -binary "documents/$1" | openssl base64 -A; }
now=$(date +%s)
jq -n --arg aud "$issuer" --argjson now "$now" --arg jti "$(openssl rand -hex 16)" \
  --arg contract "$(digest contract.txt)" --arg terms "$(digest terms.txt)" '{
    iss: "https://login.bank.example", sub: "customer-4711", aud: $aud, iat: $now, exp: ($now + 120), jti: $jti,
    acr: "psd2_sca", amr: ["hwk", "pin", "mfa"], auth_time: ($now - 30),
    scope: "sign payments:initiate payments:status",
    authorization_details: [
      { type: "credential", credentialID: "GX0112348", hashAlgorithmOID: "2.16.840.1.101.3.4.2.1",
        documentDigests: [{ hash: $contract, label: "Contract" }, { hash: $terms, label: "General terms" }],
        locations: ["https://signing.example"] },
      { type: "payment_initiation", actions: ["initiate", "status"],
        instructedAmount: { currency: "EUR", amount: "123.50" }, creditorName: "Merchant A",
        creditorAccount: { iban: "DE02100100109307118603" }, remittanceInformationUnstructured: "Contract 2025-17",
        locations: ["https://payments.bank.example"] } ] }' > grant.json
"$jwt" sign secrets/front-server.pem front-2025 < grant.json | tr -d '\n' > grant.jwt
say "The front server hands over the approved grant as an RFC 7523 assertion: customer-4711, signed in with psd2_sca,"
say "two documents to sign with credential GX0112348, and the payment of 123.50 EUR that goes with them."

grant=(-d grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer --data-urlencode assertion@grant.jwt
  --data-urlencode resource=https://signing.example --data-urlencode resource=https://payments.bank.example)
ask token.json bank-front "$token_endpoint" "${grant[@]}"
[ "$status" = 200 ] || die "expected a token, found $status: $(cat token.json)"
jq -j .access_token token.json > token
expect "an opaque token" '.token_type == "Bearer" and (.access_token | contains(".") | not) and (.authorization_details | length == 2)' token.json
good "bank-front got one opaque token of $(wc -c < token) characters, for $(jq -r .expires_in token.json) seconds"
ask refused.json bank-front "$token_endpoint" "${grant[@]}"
[ "$status $(jq -r .error refused.json)" = "400 invalid_grant" ] || die "expected invalid_grant for a used assertion, found $status: $(cat refused.json)"
good "the same assertion a second time: $status $(jq -r .error refused.json)"

introspect signing signing-service PS256 token
introspect payments payments-api ES256 token
good "two signed answers (PS256 and ES256), both verified with openssl against the JWKS"
echo
beside "signing-service is told:" answers/signing.claims.json "payments-api is told:" answers/payments.claims.json
echo
expect "its own part only" '.token_introspection | .active and .scope == "sign" and .aud == "https://signing.example" and
  [.authorization_details[].type] == ["credential"] and (.authorization_details[0].documentDigests | length == 2) and
  .sub == "customer-4711" and .acr == "psd2_sca"' answers/signing.claims.json
expect "its own part only" '.token_introspection | .active and .scope == "payments:initiate payments:status" and
  .aud == "https://payments.bank.example" and [.authorization_details[].type] == ["payment_initiation"] and
  .authorization_details[0].instructedAmount.amount == "123.50" and has("sub") == false' answers/payments.claims.json
! grep -qE 'payment|123\.50|DE0210' answers/signing.claims.json || die "the signing service was told of the payment"
! grep -qE 'credential|GX0112348|customer-4711|signing\.example' answers/payments.claims.json || die "the bank was told of the documents"
good "each sees its own part and nothing of the other's"

introspect insurance insurance-api ES256 token
expect "nothing" '.token_introspection == {"active": false}' answers/insurance.claims.json
good "insurance-api, which is no audience of the token, got a signed $(jq -c .token_introspection answers/insurance.claims.json)"

ask batch.json batch-payments "$token_endpoint" -d grant_type=client_credentials --data-urlencode resource=https://payments.bank.example
[ "$status" = 200 ] || die "expected a token, found $status: $(cat batch.json)"
jq -j .access_token batch.json > answers/access-token.jwt
verified answers/access-token ES256 at+jwt
expect "a token for payments alone" '.aud == "https://payments.bank.example" and .sub == "batch-payments" and .scope == "payments:status"' answers/access-token.claims.json
introspect batch payments-api ES256 answers/access-token.jwt
expect "an active token" '.token_introspection.active' answers/batch.claims.json
good "batch-payments got an at+jwt in its own right (ES256, verified with openssl); payments-api sees it active"

ask revoked.txt bank-front "$revocation" --data-urlencode token@token
[ "$status" = 200 ] || die "expected 200 for a revocation, found $status: $(cat revoked.txt)"
introspect signing-after signing-service PS256 token
introspect payments-after payments-api ES256 token
for name in signing-after payments-after; do
  expect "nothing" '.token_introspection == {"active": false}' "answers/$name.claims.json"
done
good "bank-front revoked its token: both see {\"active\":false} at once"

# ---------------------------------------------------------------------------------------------------------------------
step "4. The auditor"

run "$chancery" audit export --config "$dir/chancery.toml" --out "$dir/export" || die "no export was made"
jwts=()
for file in answers/*.jwt; do jwts+=(--jwt "$dir/$file"); done
run "$chancery" audit verify "$dir/export" --key "$dir/log.vkey" "${jwts[@]}" || die "the export does not verify"
good "$(sed -n 2p export/checkpoint) records verified offline; all $((${#jwts[@]} / 2)) JWTs that were received are among them"

# One byte of one record, in a copy.
cp -R export changed
entries=$(find changed/tile/entries -type f | sort | head -n 1)
at=$(($(wc -c < "$entries") / 2))
byte=$(dd if="$entries" bs=1 skip=$at count=1 status=none | xxd -p)
printf '%02x' $((0x$byte ^ 1)) | xxd -r -p | dd of="$entries" bs=1 seek=$at conv=notrunc status=none
say "now byte $at of ${entries#changed/} is changed in a copy:"
if run "$chancery" audit verify "$dir/changed" --key "$dir/log.vkey"; then
  die "a changed log verified"
else
  status=$?
fi
[ "$status" = 65 ] || die "expected status 65 for a changed log, found $status"
good "the change was found, and its place named (status 65)"

# ---------------------------------------------------------------------------------------------------------------------
step "5. By hand"

cat > by-hand.sh << BY_HAND
cd $dir
export SOFTHSM2_CONF=$dir/softhsm/softhsm2.conf
curl -sS --fail-with-body -K secrets/batch-payments.curl -d grant_type=client_credentials $token_endpoint | tee token.json | jq .
jq -j .access_token token.json > token
curl -sS --fail-with-body -K secrets/payments-api.curl -H 'Accept: application/token-introspection+jwt' --data-urlencode token@token $introspection > answer.jwt
$jwt claims "\$(cat answer.jwt)"
$jwt verify jwks.json "\$(cat answer.jwt)" && echo verified
curl -sS --fail-with-body -K secrets/batch-payments.curl --data-urlencode token@token $revocation
curl -sS --fail-with-body $operations/readyz | jq .
curl -sS --fail-with-body $operations/metrics | grep ^chancery_signer
rm -rf by-hand && $chancery audit export --config chancery.toml --out by-hand && $chancery audit verify by-hand --key log.vkey --jwt answer.jwt
BY_HAND
if [ "$keep" = yes ]; then
  say "The daemon goes on as process $pid. These lines work as they stand:"
  echo
  cat by-hand.sh
  echo
  echo "kill $pid    # ends it"
else
  say "The daemon is stopped now; softhsm/demo.sh --keep leaves it running and prints lines to try."
fi
