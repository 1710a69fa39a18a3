(() => {
  'use strict';
  const all = (root, selector) => [...root.querySelectorAll(selector)];
  const tip = document.getElementById('tip');
  const root = document.documentElement;
  const thumbs = (document.body.dataset.thumbs || '').split(' ').map(Number);

  document.getElementById('theme').addEventListener('click', () => {
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
  });

  const show = (text, image, x, y) => {
    tip.textContent = '';
    if (image !== null && thumbs.length === 4) {
      const [width, height, columns] = thumbs;
      const thumb = document.createElement('span');
      thumb.className = 'thumb';
      thumb.style.backgroundPosition = `-${(image % columns) * width}px -${Math.floor(image / columns) * height}px`;
      tip.append(thumb);
    }
    tip.append(text);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16;
    const top = y + 16 + box.height > innerHeight ? y - 12 - box.height : y + 16;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, top)}px`;
  };

  // A plot: marks are [x, y, width, height, group, text, image], points have no width.
  const plot = (holder, hidden) => {
    const svg = holder.querySelector('svg');
    const marks = JSON.parse(holder.querySelector('script').textContent);
    const view = svg.viewBox.baseVal;
    let at = -1;
    let ring = null;
    const leave = () => {
      tip.hidden = true;
      if (ring) ring.remove();
      ring = null;
    };
    const point = (index) => {
      leave();
      at = index;
      const [x, y, width, height, , text, image] = marks[index];
      const box = svg.getBoundingClientRect();
      const scale = box.width / view.width;
      ring = document.createElementNS('http://www.w3.org/2000/svg', width ? 'rect' : 'circle');
      const size = width ? { x, y, width, height } : { cx: x, cy: y, r: 7 };
      for (const [name, value] of Object.entries(size)) ring.setAttribute(name, value);
      ring.setAttribute('class', 'hit');
      svg.append(ring);
      show(text, image, box.left + (x + width / 2) * scale, box.top + (y + height / 2) * scale);
    };
    const nearest = (event) => {
      const box = svg.getBoundingClientRect();
      const scale = view.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      let best = -1;
      let least = 28 * 28;
      marks.forEach(([left, top, width, height, group], index) => {
        if (hidden.has(group)) return;
        if (width) {
          if (x >= left && x < left + width && y >= top && y < top + height) best = index;
          return;
        }
        const distance = (x - left) ** 2 + (y - top) ** 2;
        if (distance < least) [best, least] = [index, distance];
      });
      return best;
    };
    const follow = (event) => {
      const index = nearest(event);
      if (index < 0) leave();
      else point(index);
    };
    svg.addEventListener('pointermove', follow);
    svg.addEventListener('pointerdown', follow);
    svg.addEventListener('pointerleave', leave);
    if (!marks.length) return;
    svg.setAttribute('tabindex', '0');
    svg.addEventListener('blur', leave);
    svg.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === 'Escape') leave();
      if (!step) return;
      event.preventDefault();
      let next = at;
      for (let tries = 0; tries < marks.length; tries += 1) {
        next = (next + step + marks.length) % marks.length;
        if (!hidden.has(marks[next][4])) break;
      }
      point(next);
    });
  };

  for (const figure of all(document, 'figure.plot')) {
    const hidden = new Set();
    for (const holder of all(figure, '.wide, .narrow')) plot(holder, hidden);
    for (const button of all(figure, '.legend button')) {
      button.addEventListener('click', () => {
        const group = Number(button.dataset.g);
        const shown = button.getAttribute('aria-pressed') !== 'true';
        button.setAttribute('aria-pressed', String(shown));
        if (shown) hidden.delete(group);
        else hidden.add(group);
        for (const part of all(figure, `g[data-g="${group}"]`)) part.style.display = shown ? '' : 'none';
      });
    }
  }

  for (const figure of all(document, 'figure.pictures')) {
    const slider = figure.querySelector('input');
    if (!slider) continue;
    const pictures = all(figure, 'img');
    slider.addEventListener('input', () => {
      pictures.forEach((picture, index) => { picture.hidden = index !== Number(slider.value); });
      figure.querySelector('.caption').textContent = pictures[Number(slider.value)].dataset.caption;
    });
  }

  for (const button of all(document, '.copy')) {
    button.addEventListener('click', async () => {
      const code = button.parentElement.querySelector('code');
      let done = false;
      try {
        await navigator.clipboard.writeText(code.textContent);
        done = true;
      } catch {
        const range = document.createRange();
        range.selectNodeContents(code);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        done = document.execCommand('copy');
      }
      button.textContent = done ? 'copied' : 'selected';
      setTimeout(() => { button.textContent = 'copy'; }, 1500);
    });
  }
})();
