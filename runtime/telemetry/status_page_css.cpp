#include "runtime/telemetry/status_page.h"

namespace desta::runtime {

std::string_view status_page_css() {
  return R"css(:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --line: #e3e6eb; --text: #1b2230; --soft: #626c7c;
  --accent: #2f6fde; --good: #1a7f4b; --busy: #2f6fde; --warn: #9a6200; --bad: #c02b2b;
  --bar: #e8ebf0; --hover: #f1f4f8; --alarm: #fdf0ef; --alarm-line: #ecb9b4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151b; --card: #1a1e26; --line: #2a303b; --text: #e4e8ef; --soft: #949eae;
    --accent: #74a5f8; --good: #57c58d; --busy: #74a5f8; --warn: #e0ac4e; --bad: #f0827c;
    --bar: #2a303b; --hover: #212631; --alarm: #2b1b1d; --alarm-line: #6d3533;
  }
}
*, *::before { box-sizing: border-box; }
[hidden] { display: none !important; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 14px/1.45 system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
header {
  display: flex; align-items: center; gap: 14px; padding: 12px 24px;
  background: var(--card); border-bottom: 1px solid var(--line);
}
h1 { margin: 0; font-size: 17px; letter-spacing: -0.01em; }
h2 { margin: 0 0 10px; font-size: 15px; }
h2 small { margin-left: 6px; color: var(--soft); font-size: 13px; font-weight: 400; }
nav { margin-left: auto; display: flex; gap: 16px; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
main, noscript { display: block; max-width: 1440px; margin: 0 auto; padding: 20px 24px 40px; }
section { margin-bottom: 26px; }
.gone main { opacity: 0.5; }

#link { margin: 0; color: var(--soft); }
#link::before, .state::before {
  content: ""; display: inline-block; width: 8px; height: 8px; margin-right: 7px;
  border-radius: 50%; background: var(--soft);
}
#link.live::before { background: var(--good); }
#link.lost { color: var(--bad); font-weight: 600; }
#link.lost::before { background: var(--bad); }

.alarm {
  padding: 14px 18px; background: var(--alarm); border: 1px solid var(--alarm-line);
  border-left: 4px solid var(--bad); border-radius: 8px;
}
.alarm h2 { margin-bottom: 4px; color: var(--bad); }
.alarm p { margin: 0; }
.alarm ol { margin: 8px 0 0; padding-left: 22px; color: var(--soft); }

#figures {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 12px;
}
.figure {
  display: flex; flex-direction: column; padding: 11px 14px 9px; min-height: 96px;
  background: var(--card); border: 1px solid var(--line); border-radius: 8px;
}
.figure .name {
  overflow: hidden; color: var(--soft); text-overflow: ellipsis; white-space: nowrap;
}
.figure .value { font-size: 22px; font-variant-numeric: tabular-nums; letter-spacing: -0.02em; }
.figure .note { color: var(--soft); font-size: 12px; }
.figure svg { display: block; width: 100%; height: 24px; margin-top: auto; }
.figure polyline {
  fill: none; stroke: var(--accent); stroke-width: 1.5; vector-effect: non-scaling-stroke;
}

.scroll {
  overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
}
table { width: 100%; border-collapse: collapse; }
#actors { min-width: 1080px; table-layout: fixed; }
th, td { padding: 6px 12px; text-align: left; white-space: nowrap; }
th { color: var(--soft); font-size: 12px; font-weight: 600; border-bottom: 1px solid var(--line); }
tbody tr + tr td { border-top: 1px solid var(--line); }
tbody tr:hover { background: var(--hover); }
th, td { max-width: 320px; overflow: hidden; text-overflow: ellipsis; }
td.name { font-weight: 500; }
td.soft, tr.dead td { color: var(--soft); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.zero { color: var(--soft); }
td.wrong { color: var(--bad); font-weight: 600; }
td.cause, tr.dead td.cause { color: var(--bad); white-space: normal; overflow-wrap: anywhere; }
th button {
  padding: 0; border: 0; background: none; color: inherit; font: inherit; cursor: pointer;
}
th button:hover, th[aria-sort] button { color: var(--text); }
th[aria-sort] button::after { content: "\2191"; display: inline-block; width: 0; text-indent: 3px; }
th[aria-sort="descending"] button::after { content: "\2193"; }

.state.alive::before, .state.idle::before { background: var(--good); }
.state.busy::before { background: var(--busy); }
.state.starting::before { background: none; border: 2px solid var(--busy); }
.state.silent::before, .state.restarting::before { background: var(--warn); }
.state.silent, .state.restarting { color: var(--warn); }
.state.dead::before { background: var(--bad); }
.state.dead, tr.dead td.state { color: var(--bad); }

.bar {
  display: inline-block; width: 72px; height: 6px; margin-right: 9px; overflow: hidden;
  border-radius: 3px; background: var(--bar); vertical-align: middle;
}
.bar i { display: block; height: 100%; border-radius: 3px; background: var(--accent); }

.filters { display: flex; flex-wrap: wrap; gap: 8px 12px; margin-bottom: 10px; }
input, .filters button, .pages button {
  padding: 5px 11px; border: 1px solid var(--line); border-radius: 6px; background: var(--card);
  color: var(--text); font: inherit;
}
input { width: 280px; }
.filters button, .pages button { cursor: pointer; }
#states { display: flex; flex-wrap: wrap; gap: 6px; }
#states button[aria-pressed="true"] { border-color: var(--accent); color: var(--accent); }
#states button b { margin-left: 6px; font-weight: 400; color: var(--soft); }
button:disabled { opacity: 0.45; cursor: default; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.pages { display: flex; align-items: center; gap: 10px; margin: 10px 0 0; color: var(--soft); }
#none { color: var(--soft); }
)css";
}

}  // namespace desta::runtime
