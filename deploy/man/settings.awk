# Generates the SETTINGS section of mayfly.toml(5) from deploy/mayfly.toml, which documents every
# setting:
#
#   awk -f settings.awk mayfly.toml mayfly.toml.5.in >mayfly.toml.5
#
# A setting is a line "name = value" with the comment above it. "# [section]" and "# name = value"
# are settings of which the file only gives an example.

# Starts every sentence on a new line. Escapes lines that begin with a dot or a quote, which would
# be macros.
function print_text(text) {
  gsub(/\\/, "\\e", text)
  gsub(/\. /, ".\n", text)
  gsub(/\n[.']/, "\n\\\\\\&&", text)
  print text
}

function end_list() {
  if (in_list) print ".El"
  if (in_example) print ".Ed"
  in_list = in_example = 0
}

function take_setting(line,    name) {
  name = line
  sub(/ = .*/, "", name)
  if (in_example) {
    print line
    return
  }
  if (!in_list) print ".Bl -tag -width Ds"
  in_list = 1
  print ".It Ic " name
  print_text(comment)
  comment = ""
}

function take_section(line, is_example) {
  end_list()
  print ".Ss " line
  if (is_example) {
    print_text(comment)
    print ".Bd -literal -offset indent"
    in_example = 1
  }
  comment = ""
}

function print_settings(    line) {
  while ((getline line < toml) > 0) {
    if (line ~ /^\[/) {
      began = 1
      take_section(line, 0)
    } else if (!began || line == "") {
      comment = ""
    } else if (line ~ /^# \[/) {
      take_section(substr(line, 3), 1)
    } else if (line ~ /^# [a-z_]+ = /) {
      take_setting(substr(line, 3))
    } else if (line ~ /^# /) {
      comment = comment (comment == "" ? "" : " ") substr(line, 3)
    } else {
      take_setting(line)
    }
  }
  end_list()
}

BEGIN {
  toml = ARGV[1]
  ARGV[1] = ""
}
/^@SETTINGS@$/ {
  print_settings()
  next
}
{ print }
