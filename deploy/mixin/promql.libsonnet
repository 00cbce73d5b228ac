// PromQL with what the configuration says about the scraped series.
function(config) {
  // The length of the rest of a metric's name at the start of a text.
  local nameLength(text) =
    local others = [i for i in std.range(0, std.length(text) - 1) if !isNameCharacter(text[i])];
    if others == [] then std.length(text) else others[0],
  local isNameCharacter(c) = std.member('abcdefghijklmnopqrstuvwxyz0123456789_:', c),

  // Adds the selector to each selector of an exporter's metric. Recorded series are selected already.
  local select(expr) =
    local parts = std.split(expr, 'deepaffects_');
    local selected(i) =
      local n = nameLength(parts[i]);
      local name = std.substr(parts[i], 0, n), rest = std.substr(parts[i], n, std.length(parts[i]));
      name + (
        if std.endsWith(parts[i - 1], ':') then rest
        else if std.startsWith(rest, '{') then '{' + config.selector + ', ' + std.substr(rest, 1, std.length(rest))
        else '{' + config.selector + '}' + rest
      );
    std.join('deepaffects_', [parts[0]] + [selected(i) for i in std.range(1, std.length(parts) - 1)]),

  query(expr):
    local text = std.strReplace(expr, 'instance, pod', config.replicaLabels);
    if config.selector == '' then text else select(text),
}
