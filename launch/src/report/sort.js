for (const th of document.querySelectorAll("table.sortable th")) {
  th.tabIndex = 0;
  const sort = () => {
    const body = th.closest("table").tBodies[0], up = th.getAttribute("aria-sort") !== "ascending";
    const value = row => { const td = row.cells[th.cellIndex]; return td.dataset.v ?? td.textContent.trim(); };
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)], gone = v => v === "" || v === "n/a";
      if (gone(x) || gone(y)) return gone(x) - gone(y);
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return up ? order : -order;
    };
    for (const other of th.parentNode.cells) other.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...[...body.rows].sort(compare));
  };
  th.addEventListener("click", sort);
  th.addEventListener("keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); } });
}
// A number's artifact stands in a closed part of the page: open it first.
const show = () => {
  const row = location.hash.startsWith("#a-") && document.getElementById(location.hash.slice(1));
  if (row) { row.closest("details").open = true; row.scrollIntoView({ block: "center" }); }
};
addEventListener("hashchange", show);
show();
