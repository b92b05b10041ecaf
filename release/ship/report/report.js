// Zooms into images. The page is complete without this, and nothing of it is made here but what is seen after a click.
'use strict';
(() => {
	const images = JSON.parse(document.getElementById('files').textContent);
	const map = document.getElementById('map');
	const caption = document.getElementById('way');
	const readout = document.getElementById('readout');
	const tiles = [...map.children];
	const [title, ...subtitle] = [...caption.childNodes];
	const says = new WeakMap(); // what a tile says when it is pointed at
	let way = []; // names and contents, from an image down to the directory that is shown
	let kind = 'own';

	const isDirectory = node => Array.isArray(node[1]);
	const sizeOf = node => isDirectory(node) ? node[1].reduce((sum, child) => sum + sizeOf(child), 0) : node[1];
	const bytes = n => {
		for (const [unit, name] of [[2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB']])
			if (n >= unit) return (n / unit).toFixed(1) + ' ' + name;
		return n + ' B';
	};

	// As squarify in treemap.go, for a place whose form is known only here.
	function squarify(sizes, x, y, w, h) {
		const total = list => list.reduce((sum, n) => sum + n, 0);
		const places = [];
		while (sizes.length) {
			const left = total(sizes), short = Math.min(w, h), long = Math.max(w, h);
			let best = Infinity, sum = 0, length = 0;
			for (; length < sizes.length; length++) {
				const thickness = long * (sum + sizes[length]) / left;
				const side = n => short * n / (sum + sizes[length]);
				const worst = Math.max(side(sizes[0]) / thickness, thickness / side(sizes[length]));
				if (worst > best) break;
				best = worst;
				sum += sizes[length];
			}
			const thickness = long * sum / left;
			let at = 0;
			for (const n of sizes.slice(0, length)) {
				const side = short * n / sum;
				places.push(w >= h ? [x, y + at, thickness, side] : [x + at, y, side, thickness]);
				at += side;
			}
			if (w >= h) { x += thickness; w -= thickness; } else { y += thickness; h -= thickness; }
			sizes = sizes.slice(length);
		}
		return places;
	}

	function element(name, className, ...children) {
		const e = document.createElement(name);
		e.className = className;
		e.append(...children);
		return e;
	}

	function describe(tile, path, size) {
		const image = images[way[0].image];
		const share = (100 * size / image.unpacked).toFixed(1);
		says.set(tile, [path, `${bytes(size)} unpacked, ${share} % of ${image.name}`]);
	}

	function draw(into, nodes, path, width, height, nested) {
		const sizes = nodes.map(sizeOf);
		squarify(sizes, 0, 0, width, height).forEach(([x, y, w, h], i) => {
			const node = nodes[i], directory = isDirectory(node), full = path + '/' + node[0];
			const label = element('span', 'label', element('b', '', node[0] + (directory ? '/' : '')), element('span', '', bytes(sizes[i])));
			const tile = element(nested ? 'span' : 'button', 'tile ' + (nested ? '' : kind) + (directory ? ' dir' : ''), label);
			Object.assign(tile.style, {left: x + 'px', top: y + 'px', width: w + 'px', height: h + 'px'});
			describe(tile, full, sizes[i]);
			if (!nested) {
				tile.type = 'button';
				tile.setAttribute('aria-label', says.get(tile).join(', ') + (directory ? ', directory' : ''));
				if (directory) tile.addEventListener('click', () => show([...way, {name: node[0], nodes: node[1]}]));
				if (directory && w > 40 && h > 44) {
					const inner = element('span', 'inner');
					draw(inner, node[1], full, w - 6, h - 27, true);
					tile.append(inner);
				}
			}
			into.append(tile);
		});
	}

	function show(next, back) {
		const before = way;
		way = next;
		if (way.length) {
			const path = images[way[0].image].root + way.slice(1).map(step => '/' + step.name).join('');
			map.replaceChildren();
			draw(map, way[way.length - 1].nodes, path, map.clientWidth, map.clientHeight, false);
			if (!map.children.length) map.append(element('p', 'none', 'Nothing but links and empty files.'));
		} else {
			map.replaceChildren(...tiles);
		}
		caption.replaceChildren(...(way.length ? crumbs() : [title, ...subtitle]));
		map.setAttribute('aria-label', way.length ? 'Files of ' + images[way[0].image].name : 'Embedded images');
		say();
		rove(back ? [...map.children].find(tile => came(tile, before[way.length])) : undefined, before.length !== way.length);
	}

	// came tells whether a tile is the one that led to a step.
	function came(tile, step) {
		return way.length ? says.get(tile)[0].endsWith('/' + step.name) : Number(tile.dataset.image) === step.image;
	}

	function crumbs() {
		const list = [{name: 'All images'}, ...way].flatMap((step, i) => {
			if (i === way.length) return [element('b', '', step.name)];
			const button = element('button', '', step.name);
			button.type = 'button';
			button.addEventListener('click', () => show(way.slice(0, i), true));
			return [button, ' › '];
		});
		const size = way[way.length - 1].nodes.reduce((sum, node) => sum + sizeOf(node), 0);
		return [...list, ' ', element('span', '', bytes(size) + ' unpacked')];
	}

	function say(what) {
		if (what) readout.replaceChildren(element('b', '', what[0]), ' ' + what[1]);
		else readout.textContent = readout.dataset.hint;
	}

	// One tile can be tabbed to, arrow keys go on from there.
	function rove(to, focus) {
		const list = [...map.querySelectorAll(':scope > .tile')];
		to = to || list[0];
		for (const tile of list) tile.tabIndex = tile === to ? 0 : -1;
		if (to && focus) to.focus({preventScroll: true});
	}

	for (const tile of tiles) {
		if (!tile.dataset.image) continue;
		const [name, what] = [tile.title.slice(0, tile.title.indexOf(': ')), tile.title.slice(tile.title.indexOf(': ') + 2)];
		says.set(tile, [name, what]);
	}
	function open(tile) {
		kind = tile.classList.contains('shared') ? 'shared' : 'own';
		const image = Number(tile.dataset.image);
		show([{name: images[image].name, image, nodes: images[image].files}]);
	}
	document.addEventListener('click', event => {
		const tile = event.target.closest('.map [data-image]');
		if (!tile || event.ctrlKey || event.metaKey || event.shiftKey) return;
		event.preventDefault();
		open(tile);
	});
	document.addEventListener('keydown', event => {
		if (event.key === 'Escape' && way.length) {
			event.preventDefault();
			show(way.slice(0, -1), true);
			return;
		}
		const from = event.target.closest('#map > .tile');
		if (!from) return;
		if (presses(event)) {
			if (!event.repeat) from.click();
			return;
		}
		const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
		if (!step) return;
		event.preventDefault();
		const list = [...map.querySelectorAll(':scope > .tile')];
		rove(list[(list.indexOf(from) + step + list.length) % list.length], true);
	});
	// A key presses a tile when it goes down, and not also the one that has the focus when it comes up.
	const presses = event => event.key === 'Enter' || event.key === ' ';
	for (const name of ['keydown', 'keypress', 'keyup'])
		map.addEventListener(name, event => presses(event) && event.preventDefault());
	for (const name of ['pointerover', 'focusin', 'click'])
		map.addEventListener(name, event => {
			for (let e = event.target; e !== map; e = e.parentElement)
				if (says.has(e)) return say(says.get(e));
		});
	map.addEventListener('pointerleave', () => say());
	addEventListener('resize', () => way.length && show(way));
	say();
	rove();
	map.dataset.ready = '';
})();
