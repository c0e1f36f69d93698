#include "runtime/telemetry/status_page.h"

namespace desta::runtime {

// What changes is filled in by the script, as text and never as markup.
std::string_view status_page_html() {
  return R"html(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>desta</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
<header>
  <h1>desta</h1>
  <p id="link" class="waiting" role="status">connecting</p>
  <nav><a href="/state">state</a> <a href="/metrics">metrics</a></nav>
</header>
<main id="content" hidden>
  <section id="hang" class="alarm" role="alert" hidden>
    <h2>The job hangs</h2>
    <p>All wait for <strong id="culprit"></strong>.</p>
    <ol id="waiting"></ol>
  </section>

  <section id="figures" aria-label="Figures"></section>

  <section>
    <h2>Nodes <small id="node-count"></small></h2>
    <div class="scroll">
      <table id="nodes">
        <thead><tr>
          <th class="number">Node</th><th>State</th><th>Host</th><th class="number">Process</th>
          <th>Cores in use</th><th>Devices in use</th><th>Memory in use</th>
          <th class="number">Actors</th><th class="number">Heartbeat</th>
        </tr></thead>
        <tbody></tbody>
      </table>
    </div>
    <p id="node-pages" class="pages" hidden></p>
  </section>

  <section>
    <h2>Actors <small id="actor-count"></small></h2>
    <div class="filters">
      <input id="filter" type="search" placeholder="Filter: words, or node:3"
             aria-label="Filter actors" autocomplete="off" spellcheck="false">
      <div id="states" role="group" aria-label="States"></div>
    </div>
    <div class="scroll">
      <table id="actors">
        <thead><tr></tr></thead>
        <tbody></tbody>
      </table>
    </div>
    <p id="none" hidden>No actor is like that.</p>
    <p id="actor-pages" class="pages" hidden></p>
  </section>
</main>
<noscript><p>This page needs its script. The same is at <a href="/state">/state</a>.</p></noscript>
</body>
</html>
)html";
}

}  // namespace desta::runtime
