#!/usr/bin/env bash
# Puts a text on a pull request as one comment that later runs update: it is found again by the marker in its first line.
#
#   GH_TOKEN=... benchmarks/comment.sh OWNER/REPOSITORY NUMBER FILE
#
# Needs gh, and a token that may write to pull requests.
set -euo pipefail

repository=${1:?give OWNER/REPOSITORY}
number=${2:?give the number of the pull request}
file=${3:?give the file with the text}
marker='<!-- lrbench compare -->'

body=$(mktemp)
trap 'rm -f "$body"' EXIT
{ echo "$marker"; cat "$file"; } > "$body"

# Only comments of the bot whose token this is: another's with the same marker could not be edited.
earlier=$(gh api --paginate "repos/$repository/issues/$number/comments" \
  --jq ".[] | select(.user.login == \"github-actions[bot]\" and (.body | startswith(\"$marker\"))) | .id")
earlier=${earlier%%$'\n'*} # the first, should there ever be two

if [ -n "$earlier" ]; then
  gh api --silent --method PATCH "repos/$repository/issues/comments/$earlier" --field "body=@$body"
  echo "updated comment $earlier"
else
  gh api --silent --method POST "repos/$repository/issues/$number/comments" --field "body=@$body"
  echo "wrote a comment"
fi
