#!/usr/bin/env bash
# JWTs with openssl and jq alone: verifies Chancery's signatures with independent code.
#
#   jwt.sh key FILE             makes a P-256 key in FILE (PEM, for its owner alone)
#   jwt.sh jwk FILE KID         prints its public half as a JWK (RFC 7517)
#   jwt.sh sign FILE KID        reads claims (JSON) and prints them as a JWT, ES256 (RFC 7515)
#   jwt.sh header JWT           prints the header
#   jwt.sh claims JWT           prints the claims
#   jwt.sh verify JWKS JWT      ends with 0 if a key of the JWKS file made the signature, else with 65
#
# Verifies ES256, ES384, RS256, PS256 and EdDSA (Ed25519).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

die() { echo "jwt.sh: $1" >&2; exit "${2:-65}"; }

to_base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

from_base64url() { # TEXT
  local text
  text=$(printf %s "$1" | tr -- '-_' '+/')
  while [ $((${#text} % 4)) -ne 0 ]; do text+="="; done
  printf %s "$text" | openssl base64 -d -A
}

hex() { xxd -p | tr -d '\n'; }

from_hex() { xxd -r -p; }

# DER: tag, length, value; all in hex.
der() { # TAG VALUE
  local bytes=$((${#2} / 2))
  if [ $bytes -lt 128 ]; then printf '%s%02x%s' "$1" $bytes "$2"
  elif [ $bytes -lt 256 ]; then printf '%s81%02x%s' "$1" $bytes "$2"
  else printf '%s82%04x%s' "$1" $bytes "$2"; fi
}

# An unsigned number: no leading zeros, except one before a high bit.
der_integer() { # HEX
  local value=$1
  while [ ${#value} -gt 2 ] && [ "${value:0:2}" = 00 ]; do value=${value:2}; done
  case ${value:0:1} in [89a-f]) value=00$value ;; esac
  der 02 "$value"
}

# An ECDSA signature is DER for openssl, and two numbers of fixed length in JOSE.
der_to_raw() { # FILE BYTES
  openssl asn1parse -inform DER -in "$1" | awk -F: '/INTEGER/ {print $4}' | while read -r number; do
    number=$(printf '%s' "$number" | tr 'A-F' 'a-f')
    while [ ${#number} -lt $(($2 * 2)) ]; do number=0$number; done
    printf '%s' "${number: -$(($2 * 2))}"
  done | from_hex
}

raw_to_der() { # FILE
  local raw half
  raw=$(hex < "$1")
  half=$((${#raw} / 2))
  der 30 "$(der_integer "${raw:0:half}")$(der_integer "${raw:half}")" | from_hex
}

# The public key of a JWK as PEM. The prefixes are the DER of SubjectPublicKeyInfo up to the key (RFC 5480, RFC 8410).
jwk_to_pem() { # JWK
  local jwk=$1 spki
  member() { from_base64url "$(jq -r --arg name "$1" '.[$name]' <<< "$jwk")" | hex; }
  case $(jq -r '.kty + " " + (.crv // "")' <<< "$jwk") in
    "EC P-256") spki=3059301306072a8648ce3d020106082a8648ce3d03010703420004$(member x)$(member y) ;;
    "EC P-384") spki=3076301006072a8648ce3d020106052b8104002203620004$(member x)$(member y) ;;
    "OKP Ed25519") spki=302a300506032b6570032100$(member x) ;;
    "RSA ")
      local rsa
      rsa=$(der 30 "$(der_integer "$(member n)")$(der_integer "$(member e)")")
      spki=$(der 30 "300d06092a864886f70d0101010500$(der 03 "00$rsa")") ;;
    *) die "expected an EC, OKP or RSA key, found $(jq -c '{kty, crv}' <<< "$jwk")" ;;
  esac
  printf '%s' "$spki" | from_hex | openssl pkey -pubin -inform DER 2>/dev/null || die "openssl takes this JWK for no key"
}

part() { # JWT NUMBER
  local parts
  IFS=. read -r -a parts <<< "$1"
  [ ${#parts[@]} -eq 3 ] || die "expected a JWT of three parts, found ${#parts[@]}"
  printf %s "${parts[$2]}"
}

sign() { # FILE KID; claims on standard input
  local input
  input=$(jq -cnj --arg kid "$2" '{alg: "ES256", typ: "JWT", kid: $kid}' | to_base64url).$(jq -cj . | to_base64url)
  printf %s "$input" | openssl dgst -sha256 -sign "$1" -out "$work/signature"
  printf '%s.%s\n' "$input" "$(der_to_raw "$work/signature" 32 | to_base64url)"
}

verify() { # JWKS JWT
  local header jwk alg kid
  header=$(from_base64url "$(part "$2" 0)")
  alg=$(jq -r .alg <<< "$header")
  kid=$(jq -r .kid <<< "$header")
  # The JWK, not the header, names the key's algorithm (RFC 8725 §3.1).
  jwk=$(jq -c --arg kid "$kid" --arg alg "$alg" '.keys[] | select(.kid == $kid and .alg == $alg)' "$1")
  [ -n "$jwk" ] || die "the JWKS has no key with kid $kid and alg $alg"
  jwk_to_pem "$jwk" > "$work/key.pem"
  printf %s "${2%.*}" > "$work/input"
  from_base64url "$(part "$2" 2)" > "$work/signature"
  local check=(openssl dgst -verify "$work/key.pem" -signature "$work/signature")
  case $alg in
    ES256 | ES384)
      [ "$(wc -c < "$work/signature")" -eq $((${alg#ES} / 4)) ] || die "an $alg signature has $((${alg#ES} / 4)) bytes"
      raw_to_der "$work/signature" > "$work/der" && mv "$work/der" "$work/signature"
      check+=("-sha${alg#ES}") ;;
    RS256) check+=(-sha256) ;;
    PS256) check+=(-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest) ;;
    EdDSA) check=(openssl pkeyutl -verify -pubin -inkey "$work/key.pem" -rawin -sigfile "$work/signature" -in "$work/input") ;;
    *) die "expected ES256, ES384, RS256, PS256 or EdDSA, found $alg" ;;
  esac
  [ "$alg" = EdDSA ] || check+=("$work/input")
  "${check[@]}" > /dev/null 2>&1 || die "the signature is not by the key $kid"
}

case "${1:-} $#" in
  "key 2") (umask 077 && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$2" 2> /dev/null) ;;
  "jwk 3")
    point=$(openssl pkey -in "$2" -pubout -outform DER | tail -c 64 | hex)
    jq -cn --arg kid "$3" --arg x "$(printf %s "${point:0:64}" | from_hex | to_base64url)" \
      --arg y "$(printf %s "${point:64}" | from_hex | to_base64url)" \
      '{kty: "EC", crv: "P-256", use: "sig", alg: "ES256", kid: $kid, x: $x, y: $y}' ;;
  "sign 3") sign "$2" "$3" ;;
  "header 2") from_base64url "$(part "$2" 0)" | jq . ;;
  "claims 2") from_base64url "$(part "$2" 1)" | jq . ;;
  "verify 3") verify "$2" "$3" ;;
  *)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 64 ;;
esac
